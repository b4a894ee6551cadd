//! The handle to a running control plane.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::{Mutex, watch};

use crate::{
    behaviour::Behaviour,
    builder::Builder,
    endpoint_version::EndpointVersion,
    gate::{Gate, gate},
    journal::{Exchange, Kind},
    state::{Access, Code, Issued, Planned, State},
    tls,
    wire::secret_fields,
};

/// A control plane on a loopback port. Clones are the same one; it stops with the last of them.
#[derive(Clone)]
pub struct RunaiFake {
    pub(crate) state: Arc<State>,
    pub(crate) server: Arc<Server>,
}

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) addr: SocketAddr,
    pub(crate) pem: Option<tls::Pem>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) stopped: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl RunaiFake {
    /// What can be set before it starts.
    pub fn builder() -> Builder {
        Builder::new()
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

    /// How the requests to that form are answered for which nothing is queued, in place of what
    /// [`always_on_token`](Self::always_on_token) says; `None`: as usual. For Keycloak these are its
    /// token endpoint, in any realm, and its discovery document.
    pub fn always_on_version(&self, form: EndpointVersion, behaviour: Option<Behaviour>) {
        self.state.always_on_version(form, behaviour);
    }

    /// Names another token endpoint in the discovery document; `None`: the fake's own.
    pub fn set_discovered_token_endpoint(&self, url: Option<String>) {
        self.state.set_token_endpoint(url);
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

    /// How many requests the journal holds that were neither for a token nor for Keycloak's pages.
    #[must_use]
    pub fn api_requests(&self) -> usize {
        self.count(Kind::Api)
    }

    /// How many token requests in the journal brought a secret, a password, a refresh token, a code or
    /// an outside token, whatever was answered. An empty one, which only asks whether the form is
    /// there, does not count.
    #[must_use]
    pub fn secret_bearing_requests(&self) -> usize {
        let is_one = |it: &&Exchange| {
            let posted = it.kind == Kind::Token && it.method == "POST";
            posted && secret_fields::carries_one(&it.headers, &it.body)
        };
        self.state
            .with_journal(|journal| journal.iter().filter(is_one).count())
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

    /// Revokes all access tokens issued so far.
    pub fn revoke_all(&self) {
        self.state.revoke(None);
    }

    /// Gives an application a new secret; the old one is refused at once, its tokens stay valid. False
    /// if there is no such application.
    #[must_use]
    pub fn rotate_secret(&self, id: &str, secret: &str) -> bool {
        self.state.rotate_secret(id, secret)
    }

    /// Starts a session of a user, who need not be one of [`Builder::user`]'s, and gives a refresh token
    /// for it. Any client can use that one.
    #[must_use]
    pub fn refresh_token_for(&self, user: &str) -> String {
        self.state.refresh_token_for(user)
    }

    /// Whether a refresh token can be used: it is neither spent nor expired, nor has its session ended.
    #[must_use]
    pub fn refresh_token_is_live(&self, token: &str) -> bool {
        self.state.refresh_token_is_live(token)
    }

    /// Ends all sessions: their refresh tokens and their access tokens are refused.
    pub fn end_sessions(&self) {
        self.state.end_sessions();
    }

    /// An authorization code, as the login page would send it to the redirect URI, without a
    /// challenge. It can be used once.
    #[must_use]
    pub fn authorization_code(&self, user: &str, client_id: &str, redirect_uri: &str) -> String {
        self.state.code_of(Code {
            user: user.into(),
            client: client_id.into(),
            redirect_uri: redirect_uri.into(),
            challenge: None,
        })
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
