//! Configures a control plane and starts it.

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use tokio::net::TcpListener;

use crate::{
    endpoint_version::EndpointVersion,
    fake::RunaiFake,
    server::Server,
    state::{Setup, State},
    tls,
};

impl RunaiFake {
    /// Returns a builder with the defaults: plain HTTP on a free port, one application `test-app` with
    /// the secret `test-secret`, one user `test-user` with the password `test-password`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// use runai_fake::RunaiFake;
    ///
    /// let fake = RunaiFake::builder().application("ci-bot", "s3cr3t").start().await?;
    /// assert!(fake.url().starts_with("http://127.0.0.1:"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> Builder {
        Builder::new()
    }
}

/// Configures and starts a [`RunaiFake`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use std::time::Duration;
/// use runai_fake::{EndpointVersion, RunaiFake};
///
/// // An older control plane: v1 only, tokens of five minutes, HTTPS.
/// let fake = RunaiFake::builder()
///     .endpoint_version(EndpointVersion::V2, false)
///     .endpoint_version(EndpointVersion::Keycloak, false)
///     .token_lifetime(Duration::from_secs(300))
///     .tls(true)
///     .start()
///     .await?;
/// assert!(fake.ca_pem().is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    setup: Setup,
    tls: bool,
    client_certificate: bool,
    port: u16,
}

impl Builder {
    fn new() -> Self {
        Self {
            setup: Setup {
                applications: Vec::new(),
                users: Vec::new(),
                external_tokens: Vec::new(),
                rotate_refresh_tokens: true,
                realm: "runai".into(),
                without: Vec::new(),
                token_lifetime: Duration::from_secs(3600),
                v1_expires_in: false,
            },
            tls: false,
            client_certificate: false,
            port: 0,
        }
    }

    /// Adds an application and its secret. Call it once for each application.
    ///
    /// Defaults to one application, `test-app` with `test-secret`.
    pub fn application(mut self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.setup.applications.push((id.into(), secret.into()));
        self
    }

    /// Adds a user and their password. Call it once for each user. The login page logs the first one in.
    ///
    /// Defaults to one user, `test-user` with `test-password`.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.setup.users.push((name.into(), password.into()));
        self
    }

    /// Adds a token of an external identity provider, and the application or user whose token it is
    /// exchanged for. Call it once for each token.
    ///
    /// Defaults to none.
    pub fn external_token(mut self, token: impl Into<String>, client: impl Into<String>) -> Self {
        self.setup
            .external_tokens
            .push((token.into(), client.into()));
        self
    }

    /// Sets whether a refresh token is good for one use, and each answer brings the next one.
    ///
    /// If a used one comes again, its session ends with all its refresh and access tokens, as in
    /// Keycloak. With `false`, a refresh token stays valid, and the answers to it bring none.
    ///
    /// Defaults to true.
    pub fn rotate_refresh_tokens(mut self, rotate: bool) -> Self {
        self.setup.rotate_refresh_tokens = rotate;
        self
    }

    /// Sets Keycloak's realm, the name after `/auth/realms/`.
    ///
    /// Defaults to `runai`.
    pub fn realm(mut self, name: impl Into<String>) -> Self {
        self.setup.realm = name.into();
        self
    }

    /// Sets whether the control plane has this version of the token endpoint. A missing one answers 404.
    /// Without Keycloak's, the discovery document and the login page are missing too.
    ///
    /// Defaults to true for each version.
    pub fn endpoint_version(mut self, version: EndpointVersion, available: bool) -> Self {
        self.setup.without.retain(|it| *it != version);
        if !available {
            self.setup.without.push(version);
        }
        self
    }

    /// Sets the lifetime of tokens, in whole seconds.
    ///
    /// Defaults to one hour.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.setup.token_lifetime = lifetime;
        self
    }

    /// Sets whether v1's answers carry `expiresIn`, as those of version 2.24 and later do. The answers of
    /// the other endpoint versions always carry `expires_in`.
    ///
    /// Defaults to false: only the JWT tells when it expires.
    pub fn expires_in(mut self, included: bool) -> Self {
        self.setup.v1_expires_in = included;
        self
    }

    /// Sets whether the fake speaks TLS. Its certificate is for `localhost`, `127.0.0.1`, `::1` and, for
    /// tests with a proxy, `runai-fake.example`; the CA is [`RunaiFake::ca_pem`].
    ///
    /// Defaults to false.
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Sets whether TLS clients must show a certificate of the fake's CA, such as
    /// [`RunaiFake::client_certificate_pem`]. It has no effect without [`tls`](Self::tls).
    ///
    /// Defaults to false.
    pub fn client_certificate(mut self, required: bool) -> Self {
        self.client_certificate = required;
        self
    }

    /// Sets the port to listen on, at 127.0.0.1.
    ///
    /// Defaults to 0, which takes a free port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts the control plane on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails if the port cannot be listened on.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing keeps running.
    pub async fn start(mut self) -> io::Result<RunaiFake> {
        if self.setup.applications.is_empty() {
            self = self.application("test-app", "test-secret");
        }
        if self.setup.users.is_empty() {
            self = self.user("test-user", "test-password");
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await?;
        let addr = listener.local_addr()?;
        let (url, acceptor, pem) = if self.tls {
            let (acceptor, pem) = tls::acceptor(self.client_certificate)?;
            let url = format!("https://localhost:{}", addr.port());
            (url, Some(acceptor), Some(pem))
        } else {
            (format!("http://{addr}"), None, None)
        };
        let state = Arc::new(State::new(self.setup, url)?);
        let server = Server::start(listener, acceptor, state.clone())?;
        Ok(RunaiFake::new(state, server, pem))
    }
}
