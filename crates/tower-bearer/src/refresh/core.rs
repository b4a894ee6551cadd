//! What all clones of one cache share: the cell for readers without a lock, and the state behind one.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    clock::{Clock, Reading, Sleep},
    error::{Error, Kind, SourceError},
    observe::{self, Ended, Ending, Telemetry, Usable},
    source::ErasedSource,
    token::Token,
};

use super::{
    cell::{Cell, Standing},
    complete::{Fetched, Verdict},
    decide::{Effects, Moment},
    in_flight::InFlight,
    look::{Look, Stamp, Want},
    settings::Settings,
    state::{Phase, State},
    wait_list::Completion,
    warm::Warm,
};

/// What all clones of one cache share.
pub(crate) struct Core {
    pub(crate) cell: Cell,
    pub(super) source: Arc<dyn ErasedSource>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(super) settings: Settings,
    pub(crate) telemetry: Telemetry,
    pub(super) warm: Warm,
    /// [`State::unjudged`] for readers without the lock; 0 for none.
    unjudged: AtomicU64,
    state: Mutex<State>,
}

/// What a refresh's task does after the source has answered.
pub(super) enum Next {
    End,
    AskAgain,
}

impl Core {
    pub(crate) fn new(
        source: Arc<dyn ErasedSource>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        telemetry: Telemetry,
        chance: fastrand::Rng,
    ) -> Self {
        Self {
            cell: Cell::default(),
            source,
            clock,
            settings,
            telemetry,
            warm: Warm::default(),
            unjudged: AtomicU64::new(0),
            state: Mutex::new(State::new(chance)),
        }
    }

    /// Returns what to stamp a request with if a fresh token is usable for `remaining` and no answer to it
    /// is of interest: without a lock, and without any effect.
    #[inline]
    pub(crate) fn fresh(&self, remaining: Duration) -> Option<Stamp> {
        let now = self.clock.now();
        self.cell.read(|entry| {
            let entry = entry?;
            if self.awaits_judgement(entry.generation()) {
                return None;
            }
            let standing = entry.standing_for(Want::lasting(remaining), now);
            (standing == Standing::Fresh).then(|| Stamp {
                header: entry.header_value(),
                generation: entry.generation(),
            })
        })
    }

    /// Whether there is a token now that would be served for this want.
    pub(super) fn has_usable(&self, want: Want) -> bool {
        let now = self.clock.now();
        self.cell.read(|entry| {
            let standing = entry.map(|entry| entry.standing_for(want, now));
            matches!(standing, Some(Standing::Fresh | Standing::Due))
        })
    }

    /// Notes that a server accepted the token of `generation`. That costs one relaxed load, unless the
    /// token replaced a rejected one and this is the first answer to it.
    #[inline]
    pub(crate) fn taken(&self, generation: u64) {
        if self.awaits_judgement(generation) {
            self.change(|state| state.note_accepted(generation));
        }
    }

    /// Whether an accepted token of this generation would show that the last refresh helped.
    #[inline]
    fn awaits_judgement(&self, generation: u64) -> bool {
        let unjudged = self.unjudged.load(Ordering::Relaxed);
        unjudged != 0 && generation >= unjudged
    }

    /// Notes that a request which was sent again with the token of `generation` was rejected once more.
    pub(crate) fn rejected_again(&self, generation: u64) {
        if self.unjudged.load(Ordering::Relaxed) == generation {
            self.change(|state| state.note_rejected_again(generation));
        }
    }

    /// Decides what a caller gets. The caller performs the effects.
    pub(super) fn decide(&self, want: Want, moment: Moment) -> (Look, Effects) {
        self.decide_in(&mut self.lock(), want, moment)
    }

    /// The same unless somebody else holds the lock.
    pub(super) fn try_decide(&self, want: Want, moment: Moment) -> Option<(Look, Effects)> {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(self.decide_in(&mut state, want, moment))
    }

    fn decide_in(&self, state: &mut State, want: Want, moment: Moment) -> (Look, Effects) {
        let current = self.cell.current();
        let decided = state.decide(current.as_ref(), want, moment, &self.settings);
        self.mirror(state);
        decided
    }

    /// Takes what the source returned: publishes the token, or begins the backoff.
    ///
    /// `epoch` is the source's now, and `described` what it calls itself: foreign code, which does not run
    /// under the lock.
    pub(super) fn complete(
        &self,
        refresh: &Arc<InFlight>,
        sent: Reading,
        result: Result<Token, SourceError>,
        epoch: u64,
        described: &str,
    ) -> Next {
        let now = self.clock.now();
        let fetched = Fetched {
            sent,
            result,
            epoch,
            described,
        };
        let mut state = self.lock();
        let current = self.cell.current();
        let policy = &self.settings.lifetime;
        let verdict = state.complete(refresh, current.as_ref(), &fetched, now, policy);
        self.mirror(&state);
        if let Verdict::Publish(entry) = &verdict {
            self.cell.publish(entry.clone());
        }
        drop(state);
        let (completion, ending) = match verdict {
            Verdict::Ignored => return Next::End,
            Verdict::AskAgain => return Next::AskAgain,
            Verdict::Superseded => (Completion::Abandoned, Ending::Abandoned),
            Verdict::Failed(error) => {
                let usable = self.usable(now);
                let failed = Ending::Failed {
                    error: error.clone(),
                    usable,
                };
                (Completion::Failed(error), failed)
            }
            Verdict::Publish(entry) => {
                let refreshed = Ending::Refreshed {
                    generation: entry.generation(),
                    usable_until: entry.schedule.usable_until,
                    lifetime_known: entry.token.stated_lifetime() != (None, None),
                };
                (Completion::Refreshed, refreshed)
            }
        };
        refresh.complete(completion);
        self.report(refresh, ending, now);
        Next::End
    }

    /// Ends a refresh whose task ended without a result: its runtime is gone.
    pub(super) fn lose(&self, refresh: &Arc<InFlight>) {
        if self.change(|state| state.lose(refresh)) {
            refresh.complete(Completion::Abandoned);
            self.report(refresh, Ending::Abandoned, self.clock.now());
        }
    }

    /// Reports how a refresh ended. The caller holds no lock, since logs and metrics are foreign code.
    pub(super) fn report(&self, refresh: &InFlight, ending: Ending, now: Reading) {
        let authenticated = self
            .cell
            .read(|entry| entry.is_some_and(|entry| !entry.is_expired(now)));
        self.telemetry.ended(Ended {
            reason: refresh.reason,
            began: refresh.began,
            now,
            authenticated,
            ending,
        });
    }

    /// For how long the current token is usable, if it is.
    fn usable(&self, now: Reading) -> Option<Usable> {
        self.cell.read(|entry| {
            let entry = entry.filter(|entry| entry.is_usable(now))?;
            Some(Usable {
                remaining: now.until(entry.schedule.usable_until),
                near_its_end: entry.schedule.is_near_its_end(now),
            })
        })
    }

    /// How long until another look is worth it for somebody who keeps the token fresh.
    pub(super) fn next_look(&self) -> Duration {
        let now = self.clock.now();
        let current = self.cell.current();
        self.lock().next_look(current.as_ref(), now)
    }

    /// What `status` shows: the phase, the time to the next try, the last error.
    pub(crate) fn phase(&self) -> (observe::Phase, Option<Duration>, Option<Error>) {
        let now = self.clock.now();
        match &self.lock().phase {
            Phase::Idle => (observe::Phase::Idle, None, None),
            Phase::Refreshing { .. } => (observe::Phase::Refreshing, None, None),
            Phase::Backoff { until, .. } if until.is_some_and(|it| now.has_reached(it)) => {
                (observe::Phase::Idle, None, None)
            }
            Phase::Backoff { until, error, .. } => {
                let left = until.map(|until| now.until(until));
                (observe::Phase::Backoff, left, Some(error.clone()))
            }
        }
    }

    /// Whether the last refresh failed.
    pub(crate) fn last_refresh_failed(&self) -> bool {
        self.lock().has_failed()
    }

    /// A number in `0.0..1.0`.
    pub(super) fn chance(&self) -> f64 {
        self.lock().chance.f64()
    }

    /// A sleep on the cache's clock.
    ///
    /// # Errors
    ///
    /// If there is no timer to sleep on. Tokio says so by a panic, and offers no way to ask first.
    pub(super) fn sleep(&self, duration: Duration) -> Result<Sleep, Error> {
        catch_unwind(AssertUnwindSafe(|| self.clock.sleep(duration)))
            .map_err(|_| Error::new(Kind::NoRuntime))
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let changed = change(&mut state);
        self.mirror(&state);
        changed
    }

    /// Copies out what is read without the lock. The caller still holds it.
    fn mirror(&self, state: &State) {
        let unjudged = state.unjudged.unwrap_or_default();
        // Stored only if it differs: all threads read it on the hot path.
        if self.unjudged.load(Ordering::Relaxed) != unjudged {
            self.unjudged.store(unjudged, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under this lock, so nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.warm.end();
        let phase = std::mem::replace(&mut self.lock().phase, Phase::Idle);
        if let Phase::Refreshing { refresh, .. } = phase {
            refresh.give_up();
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}
