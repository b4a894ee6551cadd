//! What is under the cache's lock: idle, refreshing, backoff, and what is remembered between refreshes.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle;

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

/// The shortest time between two refreshes that `refresh` forces.
const FORCED_INTERVAL: Duration = Duration::from_secs(1);

/// How far beyond its total time-out a refresh is taken for lost: a refresh on a running runtime has
/// completed by then, so only one on a parked runtime is replaced (A14).
pub(super) const PARKED_GRACE: Duration = Duration::from_secs(1);

/// How many rejected tokens are remembered.
const REMEMBERED: usize = 4;

pub(crate) struct State {
    pub(super) phase: Phase,
    /// The highest epoch that was seen: one that was read before another thread's is no news.
    pub(super) epoch: u64,
    /// Failed refreshes in a row that were not refused, and refusals in a row; a token resets both.
    pub(super) failures: u32,
    pub(super) refusals: u32,
    /// Refreshes in a row whose secret changed meanwhile.
    pub(super) superseded: u32,
    /// The generation that was published last.
    pub(super) generation: u64,
    /// The epoch of the secret that the last published token was fetched with.
    pub(super) published_epoch: u64,
    /// When the last token was published.
    pub(super) published_at: Option<Reading>,
    /// The tokens that were rejected last: they are not taken again before they expire, even if the
    /// source hands them out.
    pub(super) rejected: Vec<Arc<Entry>>,
    /// Until when others than those who saw the rejection wait for a rejected token's first replacement.
    pub(super) replacement_wait: Option<Reading>,
    pub(super) limiter: Limiter,
    pub(super) chance: fastrand::Rng,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// No refresh is under way, and one may begin.
    Idle,
    Refreshing {
        refresh: Arc<InFlight>,
        /// The current token was rejected while this refresh was under way, so a result that is that
        /// token again is not its fault: it asks once more (D05).
        rejected_meanwhile: bool,
        /// Somebody forced a refresh while this refresh was under way, so what it brings is taken even
        /// if it expires sooner.
        forced_meanwhile: bool,
    },
    /// The last refresh failed, and none may begin before `until` unless the secret changes; without it,
    /// none before that.
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
            refusals: 0,
            superseded: 0,
            generation: 0,
            published_epoch: 0,
            published_at: None,
            rejected: Vec::new(),
            replacement_wait: None,
            limiter: Limiter::new(),
            chance,
        }
    }

    /// Takes note of the source's epoch, and lets go of a refresh that is lost or whose secret has
    /// changed, and of backoff that is over. What is returned runs other people's code when it is given
    /// up or dropped, so that happens outside the lock.
    pub(super) fn settle(
        &mut self,
        now: Reading,
        epoch: u64,
        lost_after: Duration,
    ) -> Option<Phase> {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.failures = 0;
            self.refusals = 0;
        }
        let over = match &self.phase {
            Phase::Idle => false,
            Phase::Refreshing { refresh, .. } => {
                refresh.epoch != self.epoch || refresh.time_left(now, lost_after).is_zero()
            }
            Phase::Backoff { until, epoch, .. } => {
                until.is_some_and(|until| now.has_reached(until)) || *epoch != self.epoch
            }
        };
        over.then(|| std::mem::replace(&mut self.phase, Phase::Idle))
    }

    /// Whether a refresh could begin here.
    pub(super) fn has_runtime() -> bool {
        // Under loom the test flies itself.
        cfg!(all(test, tower_bearer_loom)) || Handle::try_current().is_ok()
    }

    /// Begins a refresh, which the caller launches once the lock is gone.
    pub(super) fn begin(&mut self, reason: Reason, now: Reading, attempts: u32) -> Arc<InFlight> {
        let refresh = InFlight::new(reason, self.epoch, now, attempts);
        self.phase = Phase::Refreshing {
            refresh: refresh.clone(),
            rejected_meanwhile: false,
            forced_meanwhile: false,
        };
        refresh
    }

    pub(super) fn is_in_flight(&self, this: &Arc<InFlight>) -> bool {
        matches!(&self.phase, Phase::Refreshing { refresh, .. } if Arc::ptr_eq(refresh, this))
    }

    pub(super) fn note_rejection(&mut self, entry: &Arc<Entry>) {
        if self.rejected.len() == REMEMBERED {
            self.rejected.remove(0);
        }
        self.rejected.push(entry.clone());
        self.replacement_wait = None;
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

    pub(super) fn has_just_published(&self, now: Reading) -> bool {
        self.published_at
            .is_some_and(|at| now.since(at) < FORCED_INTERVAL)
    }

    /// Lets others wait for the refresh that replaces a rejected token, unless refreshes heal nothing anyway.
    pub(super) fn expect_replacement(&mut self, now: Reading) {
        self.replacement_wait = (!self.limiter.is_futile()).then(|| now + REPLACEMENT_WAIT);
    }

    /// Notes that somebody forces a refresh.
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

    /// Whether the current token was rejected while this refresh was under way; says so once.
    pub(super) fn takes_another_try(&mut self) -> bool {
        match &mut self.phase {
            Phase::Refreshing {
                rejected_meanwhile, ..
            } => std::mem::take(rejected_meanwhile),
            _ => false,
        }
    }

    pub(super) fn published(&mut self, refresh: &InFlight, entry: &Entry, now: Reading) {
        self.phase = Phase::Idle;
        self.failures = 0;
        self.refusals = 0;
        self.superseded = 0;
        self.generation = self.generation.max(entry.generation());
        self.published_epoch = refresh.epoch;
        self.published_at = Some(now);
        self.replacement_wait = None;
    }

    pub(super) fn cool(
        &mut self,
        error: SourceError,
        left: Option<Duration>,
        now: Reading,
    ) -> Error {
        let refused = error.is_invalid_credentials();
        let in_a_row = if refused {
            &mut self.refusals
        } else {
            &mut self.failures
        };
        *in_a_row = in_a_row.saturating_add(1);
        let in_a_row = *in_a_row;
        self.replacement_wait = None;
        let chance = self.chance.f64();
        let wait = limit::backoff(in_a_row, refused, left, error.asked_delay(), chance);
        let wait = (!error.lasts_until_changed()).then_some(wait);
        let error = Error::from(error);
        self.phase = Phase::Backoff {
            until: wait.map(|wait| now + wait),
            epoch: self.epoch,
            error: error.clone(),
        };
        error.with_next_try(wait)
    }
}

#[cfg(test)]
#[cfg(not(tower_bearer_loom))]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn an_epoch_that_was_read_too_early_undoes_nothing() {
        let now = Reading::new(Duration::ZERO, UNIX_EPOCH);
        let lost_after = Duration::from_secs(31);
        let mut state = State::new(fastrand::Rng::with_seed(7));
        assert!(state.settle(now, 1, lost_after).is_none());
        let refresh = state.begin(Reason::Initial, now, 1);
        assert_eq!(refresh.epoch, 1);
        assert!(state.settle(now, 0, lost_after).is_none());
        assert!(state.is_in_flight(&refresh));
        assert!(state.settle(now, 2, lost_after).is_some());
        assert!(!state.is_in_flight(&refresh));
    }
}
