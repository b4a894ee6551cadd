//! What can be set before the control plane starts.

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
    task::JoinSet,
};

use crate::{
    connection,
    endpoint_version::EndpointVersion,
    fake::{RunaiFake, Server},
    state::{Setup, State},
    tls,
};

/// Starts a [`RunaiFake`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    setup: Setup,
    tls: bool,
    client_certificate: bool,
    port: u16,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            setup: Setup {
                applications: Vec::new(),
                users: Vec::new(),
                outside: Vec::new(),
                rotate: true,
                realm: "runai".into(),
                without: Vec::new(),
                lifetime: Duration::from_secs(3600),
                v1_expires_in: false,
            },
            tls: false,
            client_certificate: false,
            port: 0,
        }
    }

    /// An application and its secret. Call it once for each.
    ///
    /// Defaults to one: `test-app` with `test-secret`.
    pub fn application(mut self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.setup.applications.push((id.into(), secret.into()));
        self
    }

    /// A person and their password. Call it once for each; the first is whom the login page logs in.
    ///
    /// Defaults to one: `test-user` with `test-password`.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.setup.users.push((name.into(), password.into()));
        self
    }

    /// A token of an outside identity provider, and the application or user that it is exchanged for
    /// a token of. Call it once for each.
    ///
    /// Defaults to none.
    pub fn external_token(mut self, token: impl Into<String>, client: impl Into<String>) -> Self {
        self.setup.outside.push((token.into(), client.into()));
        self
    }

    /// Whether using a refresh token redeems it and gives a new one. A spent one that is used again
    /// ends its session, with all refresh and access tokens that came from it, as Keycloak does.
    ///
    /// Defaults to yes; else the same one stays valid and the answers repeat none.
    pub fn rotate_refresh_tokens(mut self, rotate: bool) -> Self {
        self.setup.rotate = rotate;
        self
    }

    /// The realm under `/auth/realms/`.
    ///
    /// Defaults to `runai`.
    pub fn realm(mut self, name: impl Into<String>) -> Self {
        self.setup.realm = name.into();
        self
    }

    /// Whether the control plane has this form of token endpoint. One that it has not answers 404;
    /// without Keycloak that goes for its discovery document and login page too.
    ///
    /// Defaults to yes for each.
    pub fn endpoint_version(mut self, version: EndpointVersion, there: bool) -> Self {
        self.setup.without.retain(|it| *it != version);
        if !there {
            self.setup.without.push(version);
        }
        self
    }

    /// How long tokens live, in whole seconds.
    ///
    /// Defaults to an hour.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.setup.lifetime = lifetime;
        self
    }

    /// Whether v1 answers carry `expiresIn`, as they do from 2.24 on. v2's always do.
    ///
    /// Defaults to no: the JWT alone says when it ends.
    pub fn expires_in(mut self, told: bool) -> Self {
        self.setup.v1_expires_in = told;
        self
    }

    /// Whether to speak TLS, with a certificate for `localhost`, `127.0.0.1`, `::1` and, for tests with
    /// a proxy, `runai-fake.example`, by a CA of its own: see [`RunaiFake::ca_pem`].
    ///
    /// Defaults to no.
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Whether clients must show a certificate, where TLS is spoken: see
    /// [`RunaiFake::client_certificate_pem`].
    ///
    /// Defaults to no.
    pub fn client_certificate(mut self, wanted: bool) -> Self {
        self.client_certificate = wanted;
        self
    }

    /// The port to listen on.
    ///
    /// Defaults to 0: any that is free.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts it on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// If the port cannot be listened on.
    pub async fn start(mut self) -> io::Result<RunaiFake> {
        if self.setup.applications.is_empty() {
            self.setup
                .applications
                .push(("test-app".into(), "test-secret".into()));
        }
        if self.setup.users.is_empty() {
            let user = ("test-user".into(), "test-password".into());
            self.setup.users.push(user);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await?;
        let addr = listener.local_addr()?;
        let (acceptor, pem) = match self.tls {
            true => tls::acceptor(self.client_certificate)
                .map(|(acceptor, pem)| (Some(acceptor), Some(pem)))?,
            false => (None, None),
        };
        let url = match self.tls {
            true => format!("https://localhost:{}", addr.port()),
            false => format!("http://{addr}"),
        };
        let state = Arc::new(State::new(self.setup, url.clone())?);
        let (stop, mut stopping) = watch::channel(false);
        let connections = state.clone();
        let accepting = tokio::spawn(async move {
            let mut open = JoinSet::new();
            for id in 1.. {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = stopping.wait_for(|stop| *stop) => break,
                };
                // A connection that is gone before it was taken is the client's business.
                if let Ok((stream, _)) = accepted {
                    let state = connections.clone();
                    open.spawn(connection::serve(
                        stream,
                        id,
                        acceptor.clone(),
                        state,
                        stopping.clone(),
                    ));
                }
                while open.try_join_next().is_some() {}
            }
            open.shutdown().await;
        });
        Ok(RunaiFake {
            state,
            server: Arc::new(Server {
                url,
                addr,
                pem,
                stop,
                stopped: Mutex::new(Some(accepting)),
            }),
        })
    }
}
