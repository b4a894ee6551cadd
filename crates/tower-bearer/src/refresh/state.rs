//! What the cache remembers under its lock: idle, refreshing or backoff, and the facts that outlive a
//! refresh. Plain data: no clock, no runtime, no lock and no log in here, nor in [`decide`](super::decide)
//! and [`complete`](super::complete), which are its two ways to change.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    clock::Reading,
    error::{Error, Kind, SourceError},
    observe::Reason,
    token::Token,
};

use super::{
    cell::Entry,
    evidence::{Evidence, Grounds},
    in_flight::InFlight,
    limit::{self, Limiter, Limits},
    look::Want,
    settings::Settings,
    target::Target,
};

/// The longest that anybody waits for the first replacement of a rejected token (G38).
const REPLACEMENT_WAIT: Duration = Duration::from_secs(2);

/// The shortest time between two forced refreshes.
const FORCED_INTERVAL: Duration = Duration::from_secs(1);

/// How many rejected tokens are remembered.
const REMEMBERED: usize = 4;

/// After so many refreshes in a row whose secret changed meanwhile the cache backs off: such a source
/// would be called without end.
const MAX_SUPERSEDED: u32 = 3;

/// The state of one cache.
pub(super) struct State {
    /// Tells the tokens of this cache from those of all others in the process.
    pub(super) id: u64,
    pub(super) phase: Phase,
    /// The highest epoch that was seen. One that another thread read earlier is older, and ignored.
    pub(super) epoch: u64,
    /// Failed refreshes in a row, but for invalid credentials; a token resets both.
    pub(super) failures: u32,
    /// Refreshes in a row that failed because of invalid credentials.
    pub(super) invalid_credentials: u32,
    /// Refreshes in a row whose secret changed meanwhile.
    pub(super) superseded: u32,
    /// The generation that was published last.
    pub(super) generation: u64,
    /// The epoch of the secret that the last published token was fetched with.
    pub(super) published_epoch: u64,
    /// When the last token was published.
    pub(super) published_at: Option<Reading>,
    /// When the last forced refresh began.
    forced_at: Option<Reading>,
    /// The tokens that were rejected last. Until they expire they are not published again, even if the
    /// source hands them out (D05, D24).
    rejected: Vec<Remembered>,
    /// The key of their hashes.
    key: RandomState,
    /// The generation that replaced a rejected one, until a server's answer shows whether it is better.
    pub(super) unjudged: Option<u64>,
    /// The generation of which, or of a newer one, it is of interest that a server accepts it.
    pub(super) listening: Option<u64>,
    /// Until then callers that did not see the rejection wait for a rejected token's first replacement.
    pub(super) replacement_wait: Option<Reading>,
    pub(super) limiter: Limiter,
    pub(super) evidence: Evidence,
    pub(super) chance: fastrand::Rng,
}

/// A token that was rejected. It holds a hash, so that no secret stays in memory after its token.
struct Remembered {
    hash: u64,
    generation: u64,
    usable_until: Reading,
}

/// What the cache does about refreshing.
#[derive(Debug)]
pub(super) enum Phase {
    /// No refresh is in flight, and one may begin.
    Idle,
    /// A refresh is in flight.
    Refreshing {
        refresh: Arc<InFlight>,
        /// The current token was rejected meanwhile. If the source then brings that token, it may not
        /// have known, so it is asked once more (D05).
        rejected_meanwhile: bool,
        /// Somebody forced a refresh meanwhile, so its token is published even if it expires sooner.
        forced_meanwhile: bool,
    },
    /// The last refresh failed. The next begins after `until`, or when the secret is not that of `epoch`;
    /// without `until` only then, and without `epoch` not before.
    Backoff {
        until: Option<Reading>,
        epoch: Option<u64>,
        error: Error,
    },
}

impl State {
    pub(super) fn new(chance: fastrand::Rng, limits: Limits) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            phase: Phase::Idle,
            epoch: 0,
            failures: 0,
            invalid_credentials: 0,
            superseded: 0,
            generation: 0,
            published_epoch: 0,
            published_at: None,
            forced_at: None,
            rejected: Vec::new(),
            key: RandomState::new(),
            unjudged: None,
            listening: None,
            replacement_wait: None,
            limiter: Limiter::new(limits),
            evidence: Evidence::new(limits),
            chance,
        }
    }

    /// Begins a refresh. The caller launches its task once the lock is gone.
    pub(super) fn begin(&mut self, reason: Reason, now: Reading, attempts: u32) -> Arc<InFlight> {
        self.begin_for(reason, now, attempts, Grounds::Token)
    }

    /// The same, for a rejection on these grounds.
    pub(super) fn begin_for(
        &mut self,
        reason: Reason,
        now: Reading,
        attempts: u32,
        grounds: Grounds,
    ) -> Arc<InFlight> {
        if reason == Reason::Forced {
            self.forced_at = Some(now);
        }
        let is_complaint = grounds == Grounds::Complaint;
        let refresh = InFlight::new(reason, self.epoch, now, attempts, is_complaint);
        self.phase = Phase::Refreshing {
            refresh: refresh.clone(),
            rejected_meanwhile: false,
            forced_meanwhile: false,
        };
        refresh
    }

    /// Notes the source's epoch: a new secret begins without the failures of the old one.
    pub(super) fn note_epoch(&mut self, epoch: u64) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.failures = 0;
            self.invalid_credentials = 0;
        }
    }

    /// Whether this refresh is the one in flight, and was not given up.
    pub(super) fn is_in_flight(&self, this: &Arc<InFlight>) -> bool {
        matches!(&self.phase, Phase::Refreshing { refresh, .. } if Arc::ptr_eq(refresh, this))
    }

    /// Whether the last refresh failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0 || self.invalid_credentials > 0 || self.superseded >= MAX_SUPERSEDED
    }

    /// Remembers that the current token, which is this one, was rejected.
    pub(super) fn note_rejection(&mut self, entry: &Arc<Entry>) {
        if self.rejected.len() == REMEMBERED {
            self.rejected.remove(0);
        }
        self.rejected.push(Remembered {
            hash: self.key.hash_one(entry.token.header_bytes()),
            generation: entry.generation(),
            usable_until: entry.schedule.usable_until,
        });
        self.replacement_wait = None;
        if self.unjudged.take() == Some(entry.generation()) {
            // It replaced a rejected token and was not better.
            self.limiter.judge(false);
        }
        if let Phase::Refreshing {
            rejected_meanwhile, ..
        } = &mut self.phase
        {
            *rejected_meanwhile = true;
        }
    }

    pub(super) fn was_rejected(&self, token: &Token, now: Reading) -> bool {
        let hash = self.key.hash_one(token.header_bytes());
        self.rejected
            .iter()
            .any(|it| !now.has_reached(it.usable_until) && it.hash == hash)
    }

    /// Notes that a caller saw the current token, which is this one, rejected. Returns what that is about.
    pub(super) fn weigh(&mut self, want: Want, generation: u64, now: Reading) -> Grounds {
        self.listening = Some(generation);
        self.evidence.weigh(want.target, generation, now)
    }

    /// Notes that a server accepted the token of `generation` for `target`. If that is the current one, it
    /// is not dead, whatever others say (G41).
    pub(super) fn note_accepted(
        &mut self,
        current: Option<&Arc<Entry>>,
        generation: u64,
        target: Option<Target>,
        now: Reading,
    ) {
        let is_heard = self
            .listening
            .is_some_and(|listening| generation >= listening);
        if is_heard {
            self.listening = None;
            self.unjudged = None;
        }
        let in_vain = self.limiter.in_vain();
        self.evidence
            .note_accepted(target, generation, in_vain, now);
        if is_heard {
            self.limiter.judge(true);
        }
        let rejected = current.filter(|it| it.generation() == generation && it.is_rejected());
        if let Some(entry) = rejected {
            entry.withdraw_rejection();
            self.rejected.retain(|it| it.generation != generation);
            self.replacement_wait = None;
        }
    }

    /// Notes that a request which was sent again with the token of `generation` was rejected once more.
    pub(super) fn note_rejected_again(
        &mut self,
        generation: u64,
        target: Option<Target>,
        now: Reading,
    ) {
        if generation != self.generation {
            return;
        }
        let grounds = self.weigh(Want::ANY.about(target), generation, now);
        if grounds == Grounds::Token && self.unjudged == Some(generation) {
            self.unjudged = None;
            self.limiter.judge(false);
        }
    }

    /// Returns until when a look at a rejected token changes nothing, so that others are served it without
    /// one (G38), unless the secret changes.
    pub(super) fn quiet_until(&self, settings: &Settings) -> Option<Reading> {
        match &self.phase {
            Phase::Idle => self.limiter.ready_at(),
            Phase::Refreshing { refresh, .. } if self.replacement_wait.is_none() => {
                Some(refresh.began + settings.lost_after())
            }
            Phase::Refreshing { .. } => None,
            Phase::Backoff { until, .. } => Some(until.unwrap_or(Reading::MAX)),
        }
    }

    /// Returns how long until another refresh may be forced.
    pub(super) fn until_forced(&self, now: Reading) -> Duration {
        let at = self.forced_at.map(|at| at + FORCED_INTERVAL);
        at.map_or(Duration::ZERO, |at| now.until(at))
    }

    pub(super) fn has_just_published(&self, now: Reading) -> bool {
        self.published_at
            .is_some_and(|at| now.since(at) < FORCED_INTERVAL)
    }

    /// Lets others wait for the refresh that replaces a rejected token, unless refreshes do not help at
    /// present.
    pub(super) fn expect_replacement(&mut self, now: Reading) {
        self.replacement_wait = (!self.limiter.is_futile()).then(|| now + REPLACEMENT_WAIT);
    }

    /// Notes that somebody forces a refresh while one is in flight.
    pub(super) fn note_force(&mut self) {
        if let Phase::Refreshing {
            forced_meanwhile, ..
        } = &mut self.phase
        {
            *forced_meanwhile = true;
        }
    }

    pub(super) fn is_forced(&self) -> bool {
        matches!(&self.phase, Phase::Refreshing { refresh, forced_meanwhile, .. }
            if *forced_meanwhile || refresh.reason == Reason::Forced)
    }

    /// Whether the current token was rejected while this refresh was in flight. Returns `true` once.
    pub(super) fn takes_another_try(&mut self) -> bool {
        match &mut self.phase {
            Phase::Refreshing {
                rejected_meanwhile, ..
            } => std::mem::take(rejected_meanwhile),
            _ => false,
        }
    }

    /// Notes that `entry`, which this refresh brought, becomes the current one, in the place of a rejected
    /// one or of a good one.
    pub(super) fn note_published(
        &mut self,
        refresh: &InFlight,
        entry: &Entry,
        replaces_rejected: bool,
        now: Reading,
    ) {
        self.phase = Phase::Idle;
        self.failures = 0;
        self.invalid_credentials = 0;
        self.superseded = 0;
        self.generation = self.generation.max(entry.generation());
        self.published_epoch = refresh.epoch;
        self.published_at = Some(now);
        self.replacement_wait = None;
        if replaces_rejected {
            self.unjudged = Some(entry.generation());
            self.listening = Some(entry.generation());
        }
    }

    /// Ends a refresh whose secret changed while it was in flight. Returns an error if that happens each
    /// time.
    pub(super) fn supersede(&mut self, described: &str, now: Reading) -> Option<Error> {
        self.superseded = self.superseded.saturating_add(1);
        self.phase = Phase::Idle;
        let in_vain = self.superseded.checked_sub(MAX_SUPERSEDED)?;
        let failure = SourceError::transient(format!(
            "{described} changed its secret during each of the last {MAX_SUPERSEDED} fetches"
        ))
        .with_advice("find out who changes it");
        let wait = limit::backoff(in_vain + 1, false, None, None, self.chance.f64());
        let error = Error::from(failure);
        self.replacement_wait = None;
        self.phase = Phase::Backoff {
            until: Some(now + wait),
            // Another change is what is to be expected.
            epoch: None,
            error: error.clone(),
        };
        Some(error.with_next_try(Some(wait)))
    }

    /// Waits after a refresh that brought the current token again, which is usable for `left`. Returns the
    /// error for those who wanted another one.
    pub(super) fn wait_for_another(
        &mut self,
        described: &str,
        left: Duration,
        now: Reading,
    ) -> Error {
        let failure = SourceError::new(
            Kind::Unchanged,
            format!("{described} gave the current token again, which lives no longer"),
        )
        .with_advice(
            "nothing needs to be done while it is usable: it is asked for again before its end",
        );
        let wait = limit::until_another(left);
        let error = Error::from(failure);
        self.replacement_wait = None;
        self.phase = Phase::Backoff {
            until: Some(now + wait),
            epoch: Some(self.epoch),
            error: error.clone(),
        };
        error.with_next_try(Some(wait))
    }

    /// Begins the backoff after a failure. `left` is the time for which the current token is still usable.
    /// Returns the error that all who waited share.
    pub(super) fn back_off(
        &mut self,
        failure: &SourceError,
        left: Option<Duration>,
        now: Reading,
    ) -> Error {
        let invalid_credentials = failure.is_invalid_credentials();
        let in_a_row = match invalid_credentials {
            true => &mut self.invalid_credentials,
            false => &mut self.failures,
        };
        *in_a_row = in_a_row.saturating_add(1);
        let in_a_row = *in_a_row;
        self.replacement_wait = None;
        let chance = self.chance.f64();
        let wait = limit::backoff(
            in_a_row,
            invalid_credentials,
            left,
            failure.asked_delay(),
            chance,
        );
        let wait = (!failure.lasts_until_changed()).then_some(wait);
        let error = Error::from(failure.clone());
        self.phase = Phase::Backoff {
            until: wait.map(|wait| now + wait),
            epoch: Some(self.epoch),
            error: error.clone(),
        };
        error.with_next_try(wait)
    }
}
