//! The handle to a running control plane.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
    task::JoinSet,
};

use crate::{
    behaviour::Behaviour,
    connection,
    gate::{Gate, gate},
    journal::{Exchange, Kind},
    state::{Access, Issued, Planned, State},
    tls,
};

/// A control plane on a loopback port. Clones are the same one; it stops with the last of them.
#[derive(Clone)]
pub struct RunaiFake {
    pub(crate) state: Arc<State>,
    server: Arc<Server>,
}

struct Server {
    url: String,
    addr: SocketAddr,
    pem: Option<tls::Pem>,
    stop: watch::Sender<bool>,
    stopped: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Starts a [`RunaiFake`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    applications: Vec<(String, String)>,
    lifetime: Duration,
    v1_expires_in: bool,
    tls: bool,
    client_certificate: bool,
    port: u16,
}

impl Builder {
    /// An application and its secret. Call it once for each.
    ///
    /// Defaults to one: `test-app` with `test-secret`.
    pub fn application(mut self, id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.applications.push((id.into(), secret.into()));
        self
    }

    /// How long tokens live, in whole seconds.
    ///
    /// Defaults to an hour.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Whether v1 answers carry `expiresIn`, as they do from 2.24 on. v2's always do.
    ///
    /// Defaults to no: the JWT alone says when it ends.
    pub fn expires_in(mut self, told: bool) -> Self {
        self.v1_expires_in = told;
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
        if self.applications.is_empty() {
            self.applications
                .push(("test-app".into(), "test-secret".into()));
        }
        let state = Arc::new(State::new(
            self.applications,
            self.lifetime,
            self.v1_expires_in,
        )?);
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

impl RunaiFake {
    /// What can be set before it starts.
    pub fn builder() -> Builder {
        Builder {
            applications: Vec::new(),
            lifetime: Duration::from_secs(3600),
            v1_expires_in: false,
            tls: false,
            client_certificate: false,
            port: 0,
        }
    }

    /// Its base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr
    }

    /// The certificate of its CA, if it speaks TLS.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.server.pem.as_ref().map(|pem| pem.ca.as_str())
    }

    /// A certificate for a client, by the fake's CA, and its key, if it speaks TLS.
    #[must_use]
    pub fn client_certificate_pem(&self) -> Option<(&str, &str)> {
        let (certificate, key) = &self.server.pem.as_ref()?.client;
        Some((certificate, key))
    }

    /// Its own certificate, by the fake's CA, and the key, if it speaks TLS: for a server of the test's
    /// beside it.
    #[must_use]
    pub fn server_certificate_pem(&self) -> Option<(&str, &str)> {
        let (certificate, key) = &self.server.pem.as_ref()?.server;
        Some((certificate, key))
    }

    /// Whether a token would be taken: for a server of the test's that takes the same ones.
    #[must_use]
    pub fn accepts(&self, token: &str) -> bool {
        !matches!(self.state.check(Some(token)).0, Access::Unauthenticated)
    }

    /// How the next token request is answered that nothing is planned for yet. Calls queue up.
    pub fn on_token(&self, behaviour: Behaviour) {
        self.state.plan(Kind::Token, Planned::Behave(behaviour));
    }

    /// How the next other request is answered that nothing is planned for yet. Calls queue up.
    pub fn on_api(&self, behaviour: Behaviour) {
        self.state.plan(Kind::Api, Planned::Behave(behaviour));
    }

    /// How token requests are answered for which nothing is queued; `None`: as usual.
    pub fn always_on_token(&self, behaviour: Option<Behaviour>) {
        self.state.always(Kind::Token, behaviour);
    }

    /// How other requests are answered for which nothing is queued; `None`: as usual.
    pub fn always_on_api(&self, behaviour: Option<Behaviour>) {
        self.state.always(Kind::Api, behaviour);
    }

    /// Holds the next token request until the gate is released.
    #[must_use]
    pub fn hold_token(&self) -> Gate {
        self.hold(Kind::Token, 1)
    }

    /// Holds the next other request until the gate is released.
    #[must_use]
    pub fn hold_api(&self) -> Gate {
        self.hold(Kind::Api, 1)
    }

    /// Holds the next so many other requests at one gate.
    #[must_use]
    pub fn hold_api_requests(&self, requests: usize) -> Gate {
        self.hold(Kind::Api, requests)
    }

    fn hold(&self, kind: Kind, requests: usize) -> Gate {
        let (gate, barrier) = gate();
        for _ in 0..requests {
            self.state.plan(kind, Planned::Hold(barrier.clone()));
        }
        gate
    }

    /// All requests so far, in the order in which they came. It grows without bound; see
    /// [`clear_journal`](Self::clear_journal).
    #[must_use]
    pub fn journal(&self) -> Vec<Exchange> {
        self.state.journal()
    }

    /// Forgets the requests so far.
    pub fn clear_journal(&self) {
        self.state.clear_journal();
    }

    /// How many token requests the journal holds.
    #[must_use]
    pub fn token_requests(&self) -> usize {
        self.count(Kind::Token)
    }

    /// How many other requests the journal holds.
    #[must_use]
    pub fn api_requests(&self) -> usize {
        self.count(Kind::Api)
    }

    fn count(&self, kind: Kind) -> usize {
        self.state
            .with_journal(|journal| journal.iter().filter(|it| it.kind == kind).count())
    }

    /// Waits until the journal is as wanted.
    pub async fn wait_for(&self, wanted: impl Fn(&[Exchange]) -> bool) {
        let mut changes = self.state.changes();
        while !self.state.with_journal(&wanted) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Revokes the token of that generation.
    pub fn revoke(&self, generation: u64) {
        self.state.revoke(Some(generation));
    }

    /// Revokes all tokens issued so far.
    pub fn revoke_all(&self) {
        self.state.revoke(None);
    }

    /// Gives an application a new secret; the old one is refused at once, its tokens stay valid. False
    /// if there is no such application.
    #[must_use]
    pub fn rotate_secret(&self, id: &str, secret: &str) -> bool {
        self.state.rotate_secret(id, secret)
    }

    /// Signs with another key from now on; tokens signed before are rejected.
    pub fn rotate_signing_key(&self) {
        self.state.rotate_signing_key();
    }

    /// Takes an application's access rule away: its requests get 403. False if there is no such
    /// application.
    #[must_use]
    pub fn drop_access_rule(&self, id: &str) -> bool {
        self.state.grant_access(id, false)
    }

    /// Gives it back.
    #[must_use]
    pub fn restore_access_rule(&self, id: &str) -> bool {
        self.state.grant_access(id, true)
    }

    /// How long the tokens live that are issued from now on.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.state.set_lifetime(lifetime);
    }

    /// Moves the fake's clock ahead by so many whole seconds more.
    pub fn advance_clock(&self, by: Duration) {
        self.state
            .advance_clock(i64::try_from(by.as_secs()).unwrap_or(i64::MAX));
    }

    /// Sets the fake's clock so many seconds ahead of the machine's, or behind it.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.state.set_clock_offset(seconds);
    }

    /// The tokens issued so far.
    #[must_use]
    pub fn issued(&self) -> Vec<Issued> {
        self.state.issued()
    }

    /// Stops it, and waits until its connections are closed.
    pub async fn shutdown(&self) {
        self.server.stop.send_replace(true);
        if let Some(stopped) = self.server.stopped.lock().await.take() {
            // It ends early only with its runtime, and then it has stopped too.
            let _ended = stopped.await;
        }
    }
}

impl fmt::Debug for RunaiFake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunaiFake")
            .field("url", &self.server.url)
            .finish_non_exhaustive()
    }
}
