//! The handle to a running control plane.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    behaviour::Behaviour,
    endpoint_version::EndpointVersion,
    gate::{Gate, gate},
    journal::{Exchange, Kind},
    server::Server,
    state::{AccessStatus, AuthorizationCode, Issued, Planned, State},
    tls::Pem,
    wire::secret_fields,
};

/// A running control plane on a port of 127.0.0.1. [`builder`](Self::builder) starts one.
///
/// Clones refer to the same control plane. It stops when the last one is dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use runai_fake::{Behaviour, RunaiFake};
///
/// let fake = RunaiFake::builder().start().await?;
/// fake.on_token(Behaviour::status(503));       // the next token request fails
/// fake.always_on_api(Some(Behaviour::html()));    // every API request gets a web page
/// // Let your program use `fake.url()` here, then see what it did.
/// assert_eq!(fake.journal().len(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RunaiFake {
    pub(crate) state: Arc<State>,
    server: Arc<Server>,
    pem: Option<Arc<Pem>>,
}

impl RunaiFake {
    pub(crate) fn new(state: Arc<State>, server: Server, pem: Option<Pem>) -> Self {
        Self {
            state,
            server: Arc::new(server),
            pem: pem.map(Arc::new),
        }
    }

    /// Returns the base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        self.state.url()
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Returns the certificate of the fake's CA, in PEM. `None` without TLS.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.pem.as_ref().map(|pem| pem.ca.as_str())
    }

    /// Returns a client certificate of the fake's CA and its key, in PEM. `None` without TLS.
    #[must_use]
    pub fn client_certificate_pem(&self) -> Option<(&str, &str)> {
        let (certificate, key) = &self.pem.as_ref()?.client;
        Some((certificate, key))
    }

    /// Returns the fake's own certificate and its key, in PEM, for another server of your test. `None`
    /// without TLS.
    #[must_use]
    pub fn server_certificate_pem(&self) -> Option<(&str, &str)> {
        let (certificate, key) = &self.pem.as_ref()?.server;
        Some((certificate, key))
    }

    /// Returns true if the API accepts this bearer token: the fake issued it, and it is neither expired
    /// nor revoked. With it, another server of your test can accept the same tokens.
    #[must_use]
    pub fn accepts(&self, token: &str) -> bool {
        self.state.lock().check(Some(token)).status != AccessStatus::Unauthenticated
    }

    /// Queues a behaviour for the next token request (first in, first out).
    pub fn on_token(&self, behaviour: Behaviour) {
        self.queue(Kind::Token, Planned::Behave(behaviour));
    }

    /// Queues a behaviour for the next API request (first in, first out).
    pub fn on_api(&self, behaviour: Behaviour) {
        self.queue(Kind::Api, Planned::Behave(behaviour));
    }

    /// Sets the behaviour for token requests while nothing is queued. `None` answers as usual.
    pub fn always_on_token(&self, behaviour: Option<Behaviour>) {
        self.always(Kind::Token, behaviour);
    }

    /// Sets the behaviour for API requests while nothing is queued. `None` answers as usual.
    pub fn always_on_api(&self, behaviour: Option<Behaviour>) {
        self.always(Kind::Api, behaviour);
    }

    /// Sets the behaviour of one endpoint version while nothing is queued. It comes before that of
    /// [`always_on_token`](Self::always_on_token). `None` removes it.
    ///
    /// Keycloak's applies to its token endpoint, in every realm, and to its discovery document.
    ///
    /// ```
    /// # use runai_fake::{Behaviour, EndpointVersion, RunaiFake};
    /// # fn example(fake: &RunaiFake) {
    /// // v2 disappears while the program runs.
    /// fake.always_on_version(EndpointVersion::V2, Some(Behaviour::status(404)));
    /// # }
    /// ```
    pub fn always_on_version(&self, version: EndpointVersion, behaviour: Option<Behaviour>) {
        let plans = &mut self.state.lock().plans;
        plans.set_always_on_version(version, behaviour);
    }

    /// Sets the token endpoint that the discovery document names. `None` names the fake's own.
    pub fn set_discovered_token_endpoint(&self, url: Option<String>) {
        self.state.lock().discovered_token_endpoint = url;
    }

    /// Holds the next token request until the gate is released.
    #[must_use]
    pub fn hold_token(&self) -> Gate {
        self.hold(Kind::Token, 1)
    }

    /// Holds the next API request until the gate is released.
    #[must_use]
    pub fn hold_api(&self) -> Gate {
        self.hold(Kind::Api, 1)
    }

    /// Holds this many API requests at one gate.
    #[must_use]
    pub fn hold_api_requests(&self, requests: usize) -> Gate {
        self.hold(Kind::Api, requests)
    }

    fn hold(&self, kind: Kind, requests: usize) -> Gate {
        let (gate, barrier) = gate();
        for _ in 0..requests {
            self.queue(kind, Planned::Hold(barrier.clone()));
        }
        gate
    }

    fn queue(&self, kind: Kind, planned: Planned) {
        self.state.lock().plans.queue(kind, planned);
    }

    fn always(&self, kind: Kind, behaviour: Option<Behaviour>) {
        self.state.lock().plans.set_always(kind, behaviour);
    }

    /// Returns every request so far, in the order of arrival. The journal grows without limit;
    /// [`clear_journal`](Self::clear_journal) empties it.
    #[must_use]
    pub fn journal(&self) -> Vec<Exchange> {
        self.state.journal().read(<[Exchange]>::to_vec)
    }

    /// Empties the journal.
    pub fn clear_journal(&self) {
        self.state.journal().clear();
    }

    /// Returns the number of token requests in the journal.
    #[must_use]
    pub fn token_requests(&self) -> usize {
        self.count(|it| it.kind == Kind::Token)
    }

    /// Returns the number of API requests in the journal: all but those for a token or for Keycloak's
    /// pages.
    #[must_use]
    pub fn api_requests(&self) -> usize {
        self.count(|it| it.kind == Kind::Api)
    }

    /// Returns the number of token requests in the journal that carried a secret: a client secret, a
    /// password, a refresh token, an authorization code or an external token.
    ///
    /// It counts them whatever they were answered. An empty request, which only probes whether an
    /// endpoint version exists, does not count.
    #[must_use]
    pub fn secret_bearing_requests(&self) -> usize {
        self.count(|it| {
            let is_token_request = it.kind == Kind::Token && it.method == "POST";
            is_token_request && secret_fields::carries_secret(&it.headers, &it.body)
        })
    }

    fn count(&self, is_counted: impl Fn(&Exchange) -> bool) -> usize {
        let count = |journal: &[Exchange]| journal.iter().filter(|it| is_counted(it)).count();
        self.state.journal().read(count)
    }

    /// Waits until a condition holds for the journal. The condition must not call the fake: that would
    /// deadlock.
    ///
    /// ```
    /// # use runai_fake::RunaiFake;
    /// # async fn example(fake: &RunaiFake) {
    /// fake.wait_for(|journal| journal.iter().any(|it| it.status == Some(401))).await;
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn wait_for(&self, condition: impl Fn(&[Exchange]) -> bool) {
        self.state.journal().wait_for(condition).await;
    }

    /// Revokes the access token of this generation.
    pub fn revoke(&self, generation: u64) {
        let tokens = &mut self.state.lock().tokens;
        tokens.revoke(|it| it.generation == generation);
    }

    /// Revokes all access tokens issued so far.
    pub fn revoke_all(&self) {
        self.state.lock().tokens.revoke(|_| true);
    }

    /// Replaces an application's secret. The old one becomes invalid at once; tokens stay valid.
    ///
    /// Returns false if there is no such application.
    #[must_use]
    pub fn rotate_secret(&self, id: &str, secret: &str) -> bool {
        self.state.lock().applications.set_secret(id, secret)
    }

    /// Starts a session, and returns its refresh token, which any client can use.
    ///
    /// The user need not be one of [`Builder::user`](crate::Builder::user)'s.
    #[must_use]
    pub fn refresh_token_for(&self, user: &str) -> String {
        self.state.lock().refresh_token_for(user)
    }

    /// Returns true if a refresh token can be used: it was neither used nor has it expired, and its
    /// session has not ended.
    #[must_use]
    pub fn refresh_token_is_live(&self, token: &str) -> bool {
        self.state.lock().refresh_token_is_live(token)
    }

    /// Ends all sessions. Their refresh tokens and access tokens become invalid.
    pub fn end_sessions(&self) {
        self.state.lock().end_sessions();
    }

    /// Returns an authorization code without a challenge, as the login page would send it to the redirect
    /// URI. The code can be used once.
    #[must_use]
    pub fn authorization_code(&self, user: &str, client_id: &str, redirect_uri: &str) -> String {
        self.state.lock().users.new_code(AuthorizationCode {
            user: user.into(),
            client: client_id.into(),
            redirect_uri: redirect_uri.into(),
            challenge: None,
        })
    }

    /// Signs with another key from now on. Tokens signed before become invalid.
    pub fn rotate_signing_key(&self) {
        self.state.lock().tokens.rotate_signing_key();
    }

    /// Takes an application's access rule away, so that the API answers its tokens with 403.
    ///
    /// Returns false if there is no such application.
    #[must_use]
    pub fn drop_access_rule(&self, id: &str) -> bool {
        self.state.lock().applications.set_access(id, false)
    }

    /// Gives an application its access rule back.
    ///
    /// Returns false if there is no such application.
    #[must_use]
    pub fn restore_access_rule(&self, id: &str) -> bool {
        self.state.lock().applications.set_access(id, true)
    }

    /// Sets the lifetime of the tokens issued from now on, in whole seconds.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.state.lock().tokens.set_lifetime(lifetime);
    }

    /// Moves the fake's clock ahead, by whole seconds.
    pub fn advance_clock(&self, by: Duration) {
        let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        let offset = &mut self.state.lock().clock_offset;
        *offset = offset.saturating_add(seconds);
    }

    /// Sets by how many seconds the fake's clock is ahead of the machine's; behind it, if negative.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.state.lock().clock_offset = seconds;
    }

    /// Returns the access tokens issued so far.
    #[must_use]
    pub fn issued(&self) -> Vec<Issued> {
        self.state.lock().tokens.issued().to_vec()
    }

    /// Stops the control plane, and waits until its connections are closed.
    ///
    /// # Cancel safety
    ///
    /// The control plane stops even if the future is dropped, but then nothing waits for its end.
    pub async fn shutdown(&self) {
        self.server.stop().await;
    }
}

impl fmt::Debug for RunaiFake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunaiFake")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}
