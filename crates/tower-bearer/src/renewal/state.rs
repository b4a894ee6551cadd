//! What is under the cache's lock: idle, flying, cooling, and what is remembered between flights.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle;

use crate::{
    cell::Entry,
    clock::Reading,
    error::{Error, Kind},
    event::Reason,
    flight::Flight,
    limit::{self, Limiter},
    source::SourceError,
    token::Token,
};

/// The longest that anybody waits for the first replacement of a suspect (G38).
const SUSPECT_WAIT: Duration = Duration::from_secs(2);

/// The shortest time between two flights that `refresh` forces.
const FORCED_INTERVAL: Duration = Duration::from_secs(1);

/// How far beyond its total time-out a flight is taken for lost: a flight on a running runtime has
/// landed by then, so only one on a parked runtime is replaced (A14).
pub(super) const PARKED_GRACE: Duration = Duration::from_secs(1);

/// How many rejected tokens are remembered.
const REMEMBERED: usize = 4;

pub(crate) struct State {
    pub(super) phase: Phase,
    /// The highest epoch that was seen: one that was read before another thread's is no news.
    pub(super) epoch: u64,
    /// Failed flights in a row that were not refused, and refusals in a row; a token resets both.
    pub(super) failures: u32,
    pub(super) refusals: u32,
    /// Flights in a row whose secret changed meanwhile.
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
    /// Until when others than those who saw the rejection wait for a suspect's first replacement.
    pub(super) suspect_wait: Option<Reading>,
    pub(super) limiter: Limiter,
    pub(super) chance: fastrand::Rng,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// No flight is under way, and one may begin.
    Idle,
    Flying {
        flight: Arc<Flight>,
        /// The current token was rejected while this flight was under way, so a result that is that
        /// token again is not its fault: it asks once more (D05).
        rejected_meanwhile: bool,
        /// Somebody forced a renewal while this flight was under way, so what it brings is taken even
        /// if it expires sooner.
        forced_meanwhile: bool,
    },
    /// The last flight failed, and none may begin before `until` unless the secret changes; without it,
    /// none before that.
    Cooling {
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
            suspect_wait: None,
            limiter: Limiter::new(),
            chance,
        }
    }

    /// Takes note of the source's epoch, and lets go of a flight that is lost or whose secret has
    /// changed, and of cooling that is over. What is returned runs other people's code when it is given
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
            Phase::Flying { flight, .. } => {
                flight.epoch != self.epoch || flight.time_left(now, lost_after).is_zero()
            }
            Phase::Cooling { until, epoch, .. } => {
                until.is_some_and(|until| now.has_reached(until)) || *epoch != self.epoch
            }
        };
        over.then(|| std::mem::replace(&mut self.phase, Phase::Idle))
    }

    /// Whether a flight could begin here.
    pub(super) fn has_runtime() -> bool {
        // Under loom the test flies itself.
        cfg!(all(test, tower_bearer_loom)) || Handle::try_current().is_ok()
    }

    /// Begins a flight, which the caller launches once the lock is gone.
    pub(super) fn begin(&mut self, reason: Reason, now: Reading, attempts: u32) -> Arc<Flight> {
        let flight = Flight::new(reason, self.epoch, now, attempts);
        self.phase = Phase::Flying {
            flight: flight.clone(),
            rejected_meanwhile: false,
            forced_meanwhile: false,
        };
        flight
    }

    pub(super) fn is_flying(&self, this: &Arc<Flight>) -> bool {
        matches!(&self.phase, Phase::Flying { flight, .. } if Arc::ptr_eq(flight, this))
    }

    pub(super) fn note_rejection(&mut self, entry: &Arc<Entry>) {
        if self.rejected.len() == REMEMBERED {
            self.rejected.remove(0);
        }
        self.rejected.push(entry.clone());
        self.suspect_wait = None;
        if let Phase::Flying {
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

    /// Lets others wait for the flight that replaces a suspect, unless renewals heal nothing anyway.
    pub(super) fn expect_replacement(&mut self, now: Reading) {
        self.suspect_wait = (!self.limiter.is_futile()).then(|| now + SUSPECT_WAIT);
    }

    /// Notes that somebody forces a renewal.
    pub(super) fn note_force(&mut self) {
        if let Phase::Flying {
            forced_meanwhile, ..
        } = &mut self.phase
        {
            *forced_meanwhile = true;
        }
    }

    pub(super) fn is_forced(&self) -> bool {
        matches!(&self.phase, Phase::Flying { flight, forced_meanwhile, .. }
            if *forced_meanwhile || flight.reason == Reason::Forced)
    }

    /// Whether the current token was rejected while this flight was under way; says so once.
    pub(super) fn takes_another_try(&mut self) -> bool {
        match &mut self.phase {
            Phase::Flying {
                rejected_meanwhile, ..
            } => std::mem::take(rejected_meanwhile),
            _ => false,
        }
    }

    pub(super) fn published(&mut self, flight: &Flight, entry: &Entry, now: Reading) {
        self.phase = Phase::Idle;
        self.failures = 0;
        self.refusals = 0;
        self.superseded = 0;
        self.generation = self.generation.max(entry.generation());
        self.published_epoch = flight.epoch;
        self.published_at = Some(now);
        self.suspect_wait = None;
    }

    pub(super) fn cool(
        &mut self,
        error: SourceError,
        left: Option<Duration>,
        now: Reading,
    ) -> Error {
        let refused = error.kind() == Kind::Refused;
        let in_a_row = if refused {
            &mut self.refusals
        } else {
            &mut self.failures
        };
        *in_a_row = in_a_row.saturating_add(1);
        let in_a_row = *in_a_row;
        self.suspect_wait = None;
        let chance = self.chance.f64();
        let wait = limit::cooling(in_a_row, refused, left, error.asked_delay(), chance);
        let wait = (!error.lasts_until_changed()).then_some(wait);
        let error = Error::from(error);
        self.phase = Phase::Cooling {
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
        let flight = state.begin(Reason::Initial, now, 1);
        assert_eq!(flight.epoch, 1);
        assert!(state.settle(now, 0, lost_after).is_none());
        assert!(state.is_flying(&flight));
        assert!(state.settle(now, 2, lost_after).is_some());
        assert!(!state.is_flying(&flight));
    }
}
