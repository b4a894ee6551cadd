//! What the cache remembers under its lock: idle, refreshing or backoff, and the facts that outlive a
//! refresh. Plain data: no clock, no runtime, no lock and no log in here, nor in [`decide`](super::decide)
//! and [`complete`](super::complete), which are its two ways to change.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Reading,
    error::{Error, SourceError},
    observe::Reason,
    token::Token,
};

use super::{
    cell::Entry,
    in_flight::InFlight,
    limit::{self, Limiter},
};

/// The longest that anybody waits for the first replacement of a rejected token (G38).
const REPLACEMENT_WAIT: Duration = Duration::from_secs(2);

/// The shortest time between two forced refreshes.
const FORCED_INTERVAL: Duration = Duration::from_secs(1);

/// How many rejected tokens are remembered.
const REMEMBERED: usize = 4;

/// The state of one cache.
pub(super) struct State {
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
    /// The tokens that were rejected last. Until they expire they are not published again, even if the
    /// source hands them out (D05, D24).
    pub(super) rejected: Vec<Arc<Entry>>,
    /// The generation that replaced a rejected one, until a server's answer shows whether it is better.
    pub(super) unjudged: Option<u64>,
    /// Until then callers that did not see the rejection wait for a rejected token's first replacement.
    pub(super) replacement_wait: Option<Reading>,
    pub(super) limiter: Limiter,
    pub(super) chance: fastrand::Rng,
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
    /// The last refresh failed. The next begins after `until`, or when the secret has changed; without
    /// `until` only when the secret has changed.
    Backoff {
        until: Option<Reading>,
        epoch: u64,
        error: Error,
    },
}

impl State {
    pub(super) fn new(chance: fastrand::Rng) -> Self {
        Self {
            phase: Phase::Idle,
            epoch: 0,
            failures: 0,
            invalid_credentials: 0,
            superseded: 0,
            generation: 0,
            published_epoch: 0,
            published_at: None,
            rejected: Vec::new(),
            unjudged: None,
            replacement_wait: None,
            limiter: Limiter::new(),
            chance,
        }
    }

    /// Begins a refresh. The caller launches its task once the lock is gone.
    pub(super) fn begin(&mut self, reason: Reason, now: Reading, attempts: u32) -> Arc<InFlight> {
        let refresh = InFlight::new(reason, self.epoch, now, attempts);
        self.phase = Phase::Refreshing {
            refresh: refresh.clone(),
            rejected_meanwhile: false,
            forced_meanwhile: false,
        };
        refresh
    }

    /// Whether this refresh is the one in flight, and was not given up.
    pub(super) fn is_in_flight(&self, this: &Arc<InFlight>) -> bool {
        matches!(&self.phase, Phase::Refreshing { refresh, .. } if Arc::ptr_eq(refresh, this))
    }

    /// Whether the last refresh failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0 || self.invalid_credentials > 0
    }

    /// Remembers that the current token, which is this one, was rejected.
    pub(super) fn note_rejection(&mut self, entry: &Arc<Entry>) {
        if self.rejected.len() == REMEMBERED {
            self.rejected.remove(0);
        }
        self.rejected.push(entry.clone());
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
        self.rejected
            .iter()
            .any(|entry| !entry.is_expired(now) && entry.token.same_secret(token))
    }

    /// Notes that a server accepted the token of `generation`.
    pub(super) fn note_accepted(&mut self, generation: u64) {
        if self.unjudged.is_some_and(|unjudged| generation >= unjudged) {
            self.unjudged = None;
            self.limiter.judge(true);
        }
    }

    /// Notes that a request which was sent again with the token of `generation` was rejected once more.
    pub(super) fn note_rejected_again(&mut self, generation: u64) {
        if self.unjudged == Some(generation) {
            self.unjudged = None;
            self.limiter.judge(false);
        }
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

    /// Notes that `entry`, which this refresh brought, becomes the current one.
    pub(super) fn note_published(&mut self, refresh: &InFlight, entry: &Entry, now: Reading) {
        self.phase = Phase::Idle;
        self.failures = 0;
        self.invalid_credentials = 0;
        self.superseded = 0;
        self.generation = self.generation.max(entry.generation());
        self.published_epoch = refresh.epoch;
        self.published_at = Some(now);
        self.replacement_wait = None;
        if refresh.reason == Reason::Rejected {
            self.unjudged = Some(entry.generation());
        }
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
            epoch: self.epoch,
            error: error.clone(),
        };
        error.with_next_try(wait)
    }
}
