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

pub(crate) struct State {
    pub(super) phase: Phase,
    /// Failed flights in a row of one sort: refusals, or anything else.
    pub(super) failures: u32,
    pub(super) refused: bool,
    /// The generation that was published last.
    pub(super) generation: u64,
    /// The epoch of the secret that the last published token was fetched with.
    pub(super) published_epoch: u64,
    /// When the last token was published.
    pub(super) published_at: Option<Reading>,
    /// The token that was rejected last: it is not taken again before it expires, even if the source
    /// hands it out.
    pub(super) rejected: Option<Arc<Entry>>,
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
    },
    /// The last flight failed, and none may begin before `until` unless the secret changes.
    Cooling {
        until: Reading,
        epoch: u64,
        error: Error,
    },
}

impl State {
    pub(super) fn new(chance: fastrand::Rng) -> Self {
        Self {
            phase: Phase::Idle,
            failures: 0,
            refused: false,
            generation: 0,
            published_epoch: 0,
            published_at: None,
            rejected: None,
            suspect_wait: None,
            limiter: Limiter::new(),
            chance,
        }
    }

    /// Lets go of a flight that is lost or whose secret has changed, and of cooling that is over.
    /// Returns the flight, which must be given up outside the lock.
    pub(super) fn settle(
        &mut self,
        now: Reading,
        epoch: u64,
        lost_after: Duration,
    ) -> Option<Arc<Flight>> {
        let over = match &self.phase {
            Phase::Idle => false,
            Phase::Flying { flight, .. } => {
                flight.epoch != epoch || flight.time_left(now, lost_after).is_zero()
            }
            Phase::Cooling {
                until,
                epoch: failed_with,
                ..
            } => now.has_reached(*until) || *failed_with != epoch,
        };
        if !over {
            return None;
        }
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Flying { flight, .. } => Some(flight),
            Phase::Cooling {
                epoch: failed_with, ..
            } if failed_with != epoch => {
                self.failures = 0;
                None
            }
            _ => None,
        }
    }

    /// Begins a flight, which the caller launches once the lock is gone; `None` outside a runtime.
    pub(super) fn begin(
        &mut self,
        reason: Reason,
        epoch: u64,
        now: Reading,
        attempts: u32,
    ) -> Option<Arc<Flight>> {
        // Under loom the test flies itself.
        if cfg!(not(all(test, tower_bearer_loom))) {
            Handle::try_current().ok()?;
        }
        let flight = Flight::new(reason, epoch, now, attempts);
        self.phase = Phase::Flying {
            flight: flight.clone(),
            rejected_meanwhile: false,
        };
        Some(flight)
    }

    pub(super) fn is_flying(&self, this: &Arc<Flight>) -> bool {
        matches!(&self.phase, Phase::Flying { flight, .. } if Arc::ptr_eq(flight, this))
    }

    pub(super) fn note_rejection(&mut self, entry: &Arc<Entry>) {
        self.rejected = Some(entry.clone());
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
            .as_ref()
            .is_some_and(|entry| !entry.is_expired(now) && entry.token.same_secret(token))
    }

    pub(super) fn has_just_published(&self, now: Reading) -> bool {
        self.published_at
            .is_some_and(|at| now.since(at) < FORCED_INTERVAL)
    }

    /// Lets others wait for the flight that replaces a suspect, unless renewals heal nothing anyway.
    pub(super) fn expect_replacement(&mut self, now: Reading) {
        self.suspect_wait = (!self.limiter.is_futile()).then(|| now + SUSPECT_WAIT);
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
        self.generation = entry.generation();
        self.published_epoch = flight.epoch;
        self.published_at = Some(now);
        self.suspect_wait = None;
    }

    pub(super) fn cool(
        &mut self,
        error: SourceError,
        epoch: u64,
        left: Option<Duration>,
        now: Reading,
    ) -> Error {
        let refused = error.kind() == Kind::Refused;
        if refused != self.refused {
            self.failures = 0;
            self.refused = refused;
        }
        self.failures = self.failures.saturating_add(1);
        self.suspect_wait = None;
        let chance = self.chance.f64();
        let wait = limit::cooling(self.failures, refused, left, error.asked_delay(), chance);
        let error = Error::from(error);
        self.phase = Phase::Cooling {
            until: now + wait,
            epoch,
            error: error.clone(),
        };
        error.with_next_try(wait)
    }
}
