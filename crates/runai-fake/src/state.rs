//! What the control plane knows: its applications, its tokens, its clock, its journal, and how the
//! next requests are to be answered.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

use crate::{
    behaviour::{Behaviour, TokenShape},
    gate::Barrier,
    journal::{Exchange, Kind},
    jwt::{Claims, Keys},
};

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
    /// The application that it was issued to.
    pub client: String,
    /// The token.
    pub token: String,
    /// When it expires, in seconds since 1970.
    pub expires_at: i64,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Whether it is one of our JWTs; any other is known by its text.
    pub(crate) signed: bool,
}

pub(crate) struct State {
    keys: Keys,
    started: Instant,
    inner: Mutex<Inner>,
    /// Grows with each change of the journal.
    changes: watch::Sender<u64>,
}

struct Inner {
    applications: HashMap<String, Application>,
    issued: Vec<Issued>,
    by_token: HashMap<String, usize>,
    key_turn: usize,
    lifetime: Duration,
    clock_ahead: i64,
    v1_expires_in: bool,
    journal: Vec<Exchange>,
    /// How many entries were forgotten: the number of the first that is kept.
    forgotten: usize,
    plans: [Plan; 2],
}

#[derive(Default)]
struct Plan {
    queue: VecDeque<Planned>,
    always: Option<Behaviour>,
}

struct Application {
    secret: String,
    granted: bool,
}

/// What a token answer is made of.
pub(crate) struct Grant {
    pub(crate) token: String,
    pub(crate) generation: Option<u64>,
    /// The value for `expiresIn` or `expires_in`, where one is sent.
    pub(crate) expires_in: Option<serde_json::Value>,
    pub(crate) token_type: String,
}

/// What a bearer is good for.
pub(crate) enum Access {
    Granted,
    /// 401
    Unauthenticated,
    /// 403
    Forbidden,
}

impl State {
    pub(crate) fn new(
        applications: Vec<(String, String)>,
        lifetime: Duration,
        v1_expires_in: bool,
    ) -> std::io::Result<Self> {
        let applications = applications
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
                issued: Vec::new(),
                by_token: HashMap::new(),
                key_turn: 0,
                lifetime,
                clock_ahead: 0,
                v1_expires_in,
                journal: Vec::new(),
                forgotten: 0,
                plans: Default::default(),
            }),
            changes: watch::channel(0).0,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
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

    pub(crate) fn next_plan(&self, kind: Kind) -> Planned {
        let plan = &mut self.lock().plans[kind as usize];
        plan.queue
            .pop_front()
            .unwrap_or_else(|| Planned::Behave(plan.always.clone().unwrap_or_default()))
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
        self.lock()
            .applications
            .get(id)
            .is_some_and(|it| it.secret == secret)
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

    /// Issues a token for an application whose secret was right.
    pub(crate) fn issue(
        &self,
        client: &str,
        shape: Option<TokenShape>,
        v1: bool,
    ) -> std::io::Result<Grant> {
        let mut inner = self.lock();
        let now = inner.now();
        let lifetime = match shape {
            Some(TokenShape::Lifetime(seconds)) => seconds,
            _ => inner.lifetime.as_secs(),
        };
        let lifetime = i64::try_from(lifetime).unwrap_or(i64::MAX / 2);
        let (iat, exp) = match shape {
            Some(TokenShape::Expired) => (now - lifetime - 60, now - 60),
            _ => (now, now.saturating_add(lifetime)),
        };
        let generation = inner.issued.len() as u64 + 1;
        let last = inner
            .issued
            .iter()
            .rev()
            .find(|issued| issued.client == client);
        let repeated = match (&shape, last) {
            (Some(TokenShape::Same), Some(last)) => Some(last.clone()),
            _ => None,
        };
        let claims = Claims {
            iss: "runai-fake".into(),
            sub: client.into(),
            iat,
            exp: (shape != Some(TokenShape::NoExp)).then_some(exp),
            jti: generation.to_string(),
        };
        let (token, generation) = match (&shape, repeated) {
            (_, Some(last)) => (last.token, last.generation),
            (Some(TokenShape::Opaque), _) => (format!("opaque-token-{generation}"), generation),
            (Some(TokenShape::Raw(text)), _) => (text.clone(), generation),
            _ => (self.keys.sign(inner.key_turn, &claims)?, generation),
        };
        let signed = !matches!(shape, Some(TokenShape::Opaque | TokenShape::Raw(_)));
        // The same text again is the same token, with the generation that it has.
        let known = inner.by_token.get(&token).copied();
        let generation = known.map_or(generation, |at| inner.issued[at].generation);
        if known.is_none() {
            let at = inner.issued.len();
            inner.by_token.insert(token.clone(), at);
            inner.issued.push(Issued {
                generation,
                client: client.into(),
                token: token.clone(),
                expires_at: exp,
                revoked: false,
                signed,
            });
        }
        let told = !v1 || inner.v1_expires_in || matches!(shape, Some(TokenShape::Opaque));
        Ok(Grant {
            token,
            generation: Some(generation),
            expires_in: match shape {
                Some(TokenShape::ExpiresIn(ref value)) => Some(value.clone()),
                Some(TokenShape::NoExp) => None,
                _ => told.then(|| (exp - now).into()),
            },
            token_type: match shape {
                Some(TokenShape::TokenType(kind)) => kind,
                _ => "Bearer".into(),
            },
        })
    }

    /// What a bearer is good for, with the generation and the application if it is one of ours.
    pub(crate) fn check(&self, bearer: Option<&str>) -> (Access, Option<(u64, String)>) {
        let inner = self.lock();
        let Some((bearer, issued)) = bearer.and_then(|bearer| {
            let at = *inner.by_token.get(bearer)?;
            Some((bearer, &inner.issued[at]))
        }) else {
            return (Access::Unauthenticated, None);
        };
        let owner = Some((issued.generation, issued.client.clone()));
        let now = inner.now();
        let authentic = if issued.signed {
            self.keys
                .verify(inner.key_turn, bearer)
                .is_some_and(|claims| claims.exp.is_none_or(|exp| now < exp))
        } else {
            now < issued.expires_at
        };
        let access = match inner.applications.get(&issued.client) {
            _ if issued.revoked || !authentic => Access::Unauthenticated,
            Some(application) if application.granted => Access::Granted,
            _ => Access::Forbidden,
        };
        (access, owner)
    }
}

impl Inner {
    fn now(&self) -> i64 {
        #[expect(clippy::disallowed_methods, reason = "this is the fake's own clock")]
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        (now.as_secs() as i64).saturating_add(self.clock_ahead)
    }
}
