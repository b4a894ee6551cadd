//! What all clones of one cache share: the cell for readers without a lock, and the state behind one.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    clock::{Clock, Reading, Sleep},
    error::{Error, SourceError},
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
    target::Target,
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
    /// Tells this cache's tokens and fetches from another's.
    pub(crate) id: u64,
    /// [`State::listening`] for readers without the lock; 0 for none.
    listening: AtomicU64,
    /// [`State::quiet_until`] for readers without the lock, on the two clocks, and [`State::epoch`].
    quiet: Quiet,
    state: Mutex<State>,
}

/// Until when a look at a rejected token changes nothing.
#[derive(Default)]
struct Quiet {
    monotonic: AtomicU64,
    wall: AtomicI64,
    epoch: AtomicU64,
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
        let state = State::new(chance, settings.limits);
        Self {
            cell: Cell::default(),
            source,
            clock,
            settings,
            telemetry,
            warm: Warm::default(),
            id: state.id,
            listening: AtomicU64::new(0),
            quiet: Quiet::default(),
            state: Mutex::new(state),
        }
    }

    /// Returns what to stamp a request with if there is a token for it that is usable for `remaining` and
    /// need not be looked at closely: without a lock, and without any effect.
    #[inline]
    pub(crate) fn fresh(&self, remaining: Duration) -> Option<Stamp> {
        let now = self.clock.now();
        self.cell.read(|entry| {
            let entry = entry?;
            let standing = entry.standing_for(Want::lasting(remaining), now);
            let may_have = standing == Standing::Fresh
                || (standing == Standing::Rejected && self.is_quiet(now));
            may_have.then(|| Stamp {
                header: entry.header_value(),
                generation: entry.generation(),
            })
        })
    }

    /// Whether a look at a rejected token would change nothing now, so that others are served it (G38).
    pub(super) fn is_quiet(&self, now: Reading) -> bool {
        let until = Reading::of(
            self.quiet.monotonic.load(Ordering::Relaxed),
            self.quiet.wall.load(Ordering::Relaxed),
        );
        !now.has_reached(until) && self.epoch_now() == self.quiet.epoch.load(Ordering::Relaxed)
    }

    /// The source's epoch; the one that was seen last if the source panics. It runs the source's code, so
    /// the caller holds no lock.
    pub(super) fn epoch_now(&self) -> u64 {
        let epoch = catch_unwind(AssertUnwindSafe(|| self.source.epoch()));
        epoch.unwrap_or_else(|_| self.quiet.epoch.load(Ordering::Relaxed))
    }

    /// Whether there is a token now that would be served for this want.
    pub(super) fn has_usable(&self, want: Want) -> bool {
        let now = self.clock.now();
        self.cell.read(|entry| {
            let standing = entry.map(|entry| entry.standing_for(want, now));
            matches!(standing, Some(Standing::Fresh | Standing::Due))
        })
    }

    /// The current token's generation; 0 if there is none.
    pub(super) fn generation(&self) -> u64 {
        self.cell
            .read(|entry| entry.map_or(0, |it| it.generation()))
    }

    /// Whether there is a usable token now that is newer than the one of generation `seen`.
    pub(super) fn has_newer(&self, seen: u64) -> bool {
        let now = self.clock.now();
        self.cell
            .read(|entry| entry.is_some_and(|it| it.generation() > seen && it.is_usable(now)))
    }

    /// Whether `token`, which was served for this want before, would be served for it now.
    pub(super) fn still_serves(&self, token: &Token, want: Want) -> bool {
        let now = self.clock.now();
        self.cell.read(|entry| {
            let entry = entry.filter(|it| it.generation() == token.generation());
            let standing = entry.map(|entry| entry.standing_for(want.after_refresh(), now));
            matches!(standing, Some(Standing::Fresh | Standing::Due))
        })
    }

    /// Notes that a server accepted the token of `generation`. That costs one relaxed load, unless this is the
    /// first answer after a rejection.
    #[inline]
    pub(crate) fn accepted(&self, generation: u64, target: impl FnOnce() -> Option<Target>) {
        let listening = self.listening.load(Ordering::Relaxed);
        if listening != 0 && generation >= listening {
            self.note_accepted(generation, target());
        }
    }

    /// Notes that a server accepted the token of `generation`, for a target that had rejected another one.
    #[cold]
    pub(crate) fn note_accepted(&self, generation: u64, target: Option<Target>) {
        let now = self.clock.now();
        let current = self.cell.current();
        self.change(|state| state.note_accepted(current.as_ref(), generation, target, now));
    }

    /// Notes that a request which was sent again with the token of `generation` was rejected once more.
    pub(crate) fn rejected_again(&self, generation: u64, target: Option<Target>) {
        let now = self.clock.now();
        self.change(|state| state.note_rejected_again(generation, target, now));
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
            Verdict::Unchanged(error) => {
                let usable = self.usable(now);
                let unchanged = Ending::Unchanged {
                    error: error.clone(),
                    usable,
                };
                (Completion::Failed(error), unchanged)
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

    /// Fails a refresh whose task panicked.
    pub(super) fn fail(&self, refresh: &Arc<InFlight>, failure: &SourceError) {
        let now = self.clock.now();
        let current = self.cell.current();
        let failed = self.change(|state| state.fail(refresh, current.as_ref(), failure, now));
        if let Some(error) = failed {
            refresh.complete(Completion::Failed(error.clone()));
            self.report_failed(refresh, error, now);
        }
    }

    /// Reports a refresh that failed.
    pub(super) fn report_failed(&self, refresh: &InFlight, error: Error, now: Reading) {
        let usable = self.usable(now);
        self.report(refresh, Ending::Failed { error, usable }, now);
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
    pub(super) fn sleep(&self, duration: Duration) -> Sleep {
        self.clock.sleep(duration)
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let changed = change(&mut state);
        self.mirror(&state);
        changed
    }

    /// Copies out what is read without the lock. The caller still holds it.
    fn mirror(&self, state: &State) {
        // Stored only if it differs: all threads read it on the hot path.
        let listening = state.listening.unwrap_or_default();
        if self.listening.load(Ordering::Relaxed) != listening {
            self.listening.store(listening, Ordering::Relaxed);
        }
        // A look that sees one half of it goes to the lock, or is quiet for a moment longer.
        let quiet = state.quiet_until(&self.settings).map(Reading::parts);
        let (monotonic, wall) = quiet.unwrap_or((0, i64::MIN));
        if self.quiet.monotonic.load(Ordering::Relaxed) != monotonic
            || self.quiet.wall.load(Ordering::Relaxed) != wall
        {
            self.quiet.monotonic.store(monotonic, Ordering::Relaxed);
            self.quiet.wall.store(wall, Ordering::Relaxed);
        }
        if self.quiet.epoch.load(Ordering::Relaxed) != state.epoch {
            self.quiet.epoch.store(state.epoch, Ordering::Relaxed);
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
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
