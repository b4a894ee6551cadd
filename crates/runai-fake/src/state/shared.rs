//! What the control plane knows: its applications, its tokens, its clock, its journal, and how the
//! next requests are to be answered.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

use crate::{
    behaviour::Behaviour,
    endpoint_version::{Endpoint, EndpointVersion},
    gate::Barrier,
    journal::{Exchange, Kind},
    jwt::Keys,
};

use super::people::{Code, People};

/// What a queued request meets.
#[derive(Clone, Debug)]
pub(crate) enum Planned {
    Behave(Behaviour),
    Hold(Barrier),
}

/// A token that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Issued {
    /// Counts the issued tokens, from 1.
    pub generation: u64,
    /// The application or the user that it was issued to.
    pub client: String,
    /// The token.
    pub token: String,
    /// When it expires, in seconds since 1970.
    pub expires_at: i64,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Whether it is one of our JWTs; any other is known by its text.
    pub(crate) signed: bool,
    /// The session that it belongs to, if it is a user's.
    pub(crate) session: Option<usize>,
}

/// What is known from the start.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) applications: Vec<(String, String)>,
    pub(crate) users: Vec<(String, String)>,
    pub(crate) outside: Vec<(String, String)>,
    pub(crate) rotate: bool,
    pub(crate) realm: String,
    pub(crate) without: Vec<EndpointVersion>,
    pub(crate) lifetime: Duration,
    pub(crate) v1_expires_in: bool,
}

pub(crate) struct State {
    pub(super) keys: Keys,
    pub(super) started: Instant,
    pub(super) inner: Mutex<Inner>,
    /// Grows with each change of the journal.
    pub(super) changes: watch::Sender<u64>,
    pub(super) realm: String,
    pub(super) without: Vec<EndpointVersion>,
    /// The base URL.
    pub(super) url: String,
}

pub(super) struct Inner {
    pub(super) applications: HashMap<String, Application>,
    pub(super) people: People,
    pub(super) issued: Vec<Issued>,
    pub(super) by_token: HashMap<String, usize>,
    pub(super) key_turn: usize,
    pub(super) lifetime: Duration,
    pub(super) clock_ahead: i64,
    pub(super) v1_expires_in: bool,
    pub(super) journal: Vec<Exchange>,
    /// How many entries were forgotten: the number of the first that is kept.
    pub(super) forgotten: usize,
    pub(super) plans: [Plan; 3],
    /// How the requests to a form are answered.
    pub(super) forms: [Option<Behaviour>; 3],
    /// The token endpoint that the discovery document names instead of the fake's.
    pub(super) token_endpoint: Option<String>,
}

#[derive(Default)]
pub(super) struct Plan {
    queue: VecDeque<Planned>,
    always: Option<Behaviour>,
}

pub(super) struct Application {
    pub(super) secret: String,
    pub(super) granted: bool,
}

impl State {
    pub(crate) fn new(setup: Setup, url: String) -> std::io::Result<Self> {
        let applications = setup
            .applications
            .into_iter()
            .map(|(id, secret)| {
                let granted = true;
                (id, Application { secret, granted })
            })
            .collect();
        #[expect(clippy::disallowed_methods, reason = "this is the fake's own clock")]
        let started = Instant::now();
        Ok(Self {
            keys: Keys::load()?,
            started,
            inner: Mutex::new(Inner {
                applications,
                people: People::new(setup.users, setup.outside, setup.rotate),
                issued: Vec::new(),
                by_token: HashMap::new(),
                key_turn: 0,
                lifetime: setup.lifetime,
                clock_ahead: 0,
                v1_expires_in: setup.v1_expires_in,
                journal: Vec::new(),
                forgotten: 0,
                plans: Default::default(),
                forms: Default::default(),
                token_endpoint: None,
            }),
            changes: watch::channel(0).0,
            realm: setup.realm,
            without: setup.without,
            url,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fake's time of day, in seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.lock().now()
    }

    // --- plans

    pub(crate) fn plan(&self, kind: Kind, planned: Planned) {
        self.lock().plans[kind as usize].queue.push_back(planned);
    }

    pub(crate) fn always(&self, kind: Kind, behaviour: Option<Behaviour>) {
        self.lock().plans[kind as usize].always = behaviour;
    }

    pub(crate) fn always_on_version(&self, form: EndpointVersion, behaviour: Option<Behaviour>) {
        self.lock().forms[form as usize] = behaviour;
    }

    pub(crate) fn next_plan(&self, endpoint: Endpoint) -> Planned {
        let mut inner = self.lock();
        let form = match endpoint {
            // The form's own behaviour is not for people who log in.
            Endpoint::Login => None,
            _ => endpoint.form(),
        };
        let of_form = form.and_then(|form| inner.forms[form as usize].clone());
        let plan = &mut inner.plans[endpoint.kind() as usize];
        plan.queue.pop_front().unwrap_or_else(|| {
            let always = of_form.or_else(|| plan.always.clone());
            Planned::Behave(always.unwrap_or_default())
        })
    }

    // --- the journal

    pub(crate) fn note(&self, mut exchange: Exchange) -> usize {
        #[expect(clippy::disallowed_methods, reason = "this is the fake's own clock")]
        let now = Instant::now();
        let mut inner = self.lock();
        let seq = inner.forgotten + inner.journal.len();
        exchange.seq = seq;
        exchange.at = now.duration_since(self.started);
        inner.journal.push(exchange);
        drop(inner);
        self.changed();
        seq
    }

    pub(crate) fn amend(&self, seq: usize, change: impl FnOnce(&mut Exchange)) {
        let mut inner = self.lock();
        // A journal that was cleared meanwhile has forgotten it.
        let place = seq.checked_sub(inner.forgotten);
        if let Some(exchange) = place.and_then(|place| inner.journal.get_mut(place)) {
            change(exchange);
        }
        drop(inner);
        self.changed();
    }

    pub(crate) fn journal(&self) -> Vec<Exchange> {
        self.lock().journal.clone()
    }

    pub(crate) fn with_journal<R>(&self, look: impl FnOnce(&[Exchange]) -> R) -> R {
        look(&self.lock().journal)
    }

    pub(crate) fn clear_journal(&self) {
        let mut inner = self.lock();
        inner.forgotten += inner.journal.len();
        inner.journal.clear();
        drop(inner);
        self.changed();
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    // --- applications and tokens

    /// Whether there is such an application with such a secret.
    pub(crate) fn knows(&self, id: &str, secret: &str) -> bool {
        self.lock().knows(id, secret)
    }

    pub(crate) fn has_application(&self, id: &str) -> bool {
        self.lock().applications.contains_key(id)
    }

    pub(crate) fn rotate_secret(&self, id: &str, secret: &str) -> bool {
        let found = self
            .lock()
            .applications
            .get_mut(id)
            .map(|it| it.secret = secret.to_owned());
        found.is_some()
    }

    pub(crate) fn grant_access(&self, id: &str, granted: bool) -> bool {
        let found = self
            .lock()
            .applications
            .get_mut(id)
            .map(|it| it.granted = granted);
        found.is_some()
    }

    pub(crate) fn rotate_signing_key(&self) {
        self.lock().key_turn += 1;
    }

    pub(crate) fn set_lifetime(&self, lifetime: Duration) {
        self.lock().lifetime = lifetime;
    }

    pub(crate) fn advance_clock(&self, seconds: i64) {
        let mut inner = self.lock();
        inner.clock_ahead = inner.clock_ahead.saturating_add(seconds);
    }

    pub(crate) fn set_clock_offset(&self, seconds: i64) {
        self.lock().clock_ahead = seconds;
    }

    pub(crate) fn revoke(&self, generation: Option<u64>) {
        for issued in &mut self.lock().issued {
            if generation.is_none_or(|it| it == issued.generation) {
                issued.revoked = true;
            }
        }
    }

    pub(crate) fn issued(&self) -> Vec<Issued> {
        self.lock().issued.clone()
    }

    // --- people

    pub(crate) fn has_user(&self, user: &str) -> bool {
        self.lock().people.has(user)
    }

    /// The user whom the login page logs in.
    pub(crate) fn first_user(&self) -> Option<String> {
        self.lock().people.first().map(str::to_owned)
    }

    pub(crate) fn code_of(&self, code: Code) -> String {
        self.lock().people.code(code)
    }

    /// A refresh token of a new session, for whatever client uses it.
    pub(crate) fn refresh_token_for(&self, user: &str) -> String {
        let mut inner = self.lock();
        let now = inner.now();
        let session = inner.people.start(user, None);
        inner.people.refresh_token(session, now)
    }

    pub(crate) fn refresh_token_is_live(&self, token: &str) -> bool {
        let inner = self.lock();
        inner.people.is_live(token, inner.now())
    }

    pub(crate) fn end_sessions(&self) {
        let mut inner = self.lock();
        inner.people.end_all();
        inner.revoke_ended();
    }

    // --- what is there

    pub(crate) fn has(&self, form: EndpointVersion) -> bool {
        !self.without.contains(&form)
    }

    pub(crate) fn realm(&self) -> &str {
        &self.realm
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn token_endpoint(&self) -> Option<String> {
        self.lock().token_endpoint.clone()
    }

    pub(crate) fn set_token_endpoint(&self, url: Option<String>) {
        self.lock().token_endpoint = url;
    }
}

impl Inner {
    pub(super) fn now(&self) -> i64 {
        #[expect(clippy::disallowed_methods, reason = "this is the fake's own clock")]
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        (now.as_secs() as i64).saturating_add(self.clock_ahead)
    }
}
