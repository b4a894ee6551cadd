//! Decides who is served, who waits and when a refresh begins.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    cell::{Cell, Entry},
    in_flight::{Completion, InFlight},
    lifetime::{self, Standing},
    look::{Look, Stamp, Want},
    state::{PARKED_GRACE, Phase, State},
    task,
    warm::{self, Warm},
};
use crate::{
    clock::{Clock, Reading, Sleep},
    error::{Error, Kind},
    observe::{Reason, Telemetry},
    source::ErasedSource,
    sync::{Mutex, MutexGuard},
};

/// What can be set on a cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) lifetime: lifetime::Policy,
    pub(crate) attempts: u32,
    pub(crate) attempt_timeout: Duration,
    pub(crate) refresh_timeout: Duration,
}

impl Settings {
    /// How long after it began a refresh is taken for lost.
    fn lost_after(&self) -> Duration {
        self.refresh_timeout.saturating_add(PARKED_GRACE)
    }
}

/// What all clones of one cache share.
pub(crate) struct Core {
    pub(crate) cell: Cell,
    pub(crate) source: Arc<dyn ErasedSource>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    pub(crate) telemetry: Telemetry,
    pub(crate) warm: Warm,
    /// The generation that replaced a rejected one, until it is known whether it is any better; else 0.
    pub(super) unjudged: AtomicU64,
    state: Mutex<State>,
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

    /// A fresh token's header value and generation, if there is one that is of use for so long, and nothing
    /// is to be found out about: without a lock, and without anything else that happens.
    #[inline]
    pub(crate) fn fresh(&self, remaining: Duration) -> Option<Stamp> {
        let now = self.clock.now();
        self.cell.read(|entry| {
            let entry = entry.filter(|entry| !entry.is_rejected())?;
            if self.unjudged(entry.generation()).is_some() {
                return None;
            }
            let lasts = entry.schedule.is_fresh(now) && entry.schedule.lasts(remaining, now);
            lasts.then(|| Stamp {
                header: entry.header_value(),
                generation: entry.generation(),
            })
        })
    }

    /// Looks for a token. A fresh one takes no lock; a due one is served, and a refresh begins.
    pub(crate) fn look(self: &Arc<Self>, want: Want) -> Look {
        let now = self.clock.now();
        if want.force {
            return self.look_closer(want, now, None);
        }
        let usable = self.cell.read(|entry| {
            let entry = entry.filter(|entry| !entry.is_rejected() && want.may_have(entry))?;
            let standing = entry.schedule.standing(now);
            let usable = standing != Standing::Expired && entry.schedule.lasts(want.remaining, now);
            usable.then(|| (entry.token.clone(), standing))
        });
        match usable {
            Some((token, Standing::Fresh)) => Look::Serve(token),
            Some((token, _)) => {
                self.telemetry.served_due();
                self.refresh_ahead(now);
                Look::Serve(token)
            }
            None => self.look_closer(want, now, None),
        }
    }

    /// Begins a refresh if there is no fresh token, and says how long until the next look is worth it.
    pub(crate) fn refresh_if_needed(self: &Arc<Self>) -> Duration {
        // Nobody is served, so what is found is of no interest.
        let _found = self.look(Want::ANY);
        let now = self.clock.now();
        let until_due = self.cell.read(|entry| {
            let usable = entry.filter(|entry| entry.is_usable(now));
            usable.map_or(Duration::ZERO, |entry| now.until(entry.schedule.due))
        });
        match &self.lock().phase {
            // It looks again anyway before long, for a secret that has changed.
            Phase::Backoff { until, .. } => until.map_or(Duration::MAX, |it| now.until(it)),
            // A refresh that is under way says nothing to this task when it completes.
            Phase::Refreshing { .. } => Duration::from_secs(1),
            Phase::Idle => until_due,
        }
    }

    /// Marks the token of `generation` as rejected if it is still the current one, begins or joins a
    /// refresh, and looks for another.
    pub(crate) fn reject(self: &Arc<Self>, generation: u64, want: Want) -> Look {
        let now = self.clock.now();
        self.look_closer(want.other_than(generation), now, Some(generation))
    }

    /// Notes that a server took the token of `generation`. It costs one look at an atomic unless that
    /// token replaced a rejected one and nobody knew yet whether it is any better.
    #[inline]
    pub(crate) fn taken(&self, generation: u64) {
        if let Some(unjudged) = self.unjudged(generation) {
            self.judge(unjudged, true);
        }
    }

    /// The generation that is judged if the token of `generation` is taken.
    #[inline]
    fn unjudged(&self, generation: u64) -> Option<u64> {
        let unjudged = self.unjudged.load(Ordering::Relaxed);
        (unjudged != 0 && generation >= unjudged).then_some(unjudged)
    }

    /// Notes that a request which was sent again with the token of `generation` was rejected once more.
    pub(crate) fn rejected_again(&self, generation: u64) {
        if self.unjudged.load(Ordering::Relaxed) == generation {
            self.judge(generation, false);
        }
    }

    /// Judges a replacement, once.
    fn judge(&self, unjudged: u64, healed: bool) {
        let mut state = self.lock();
        let first =
            self.unjudged
                .compare_exchange(unjudged, 0, Ordering::Relaxed, Ordering::Relaxed);
        if first.is_ok() {
            state.limiter.healed(healed);
        }
    }

    /// Begins a refresh while the due token is served. If somebody else holds the lock, they see to
    /// it, or the next request does: nobody waits.
    fn refresh_ahead(self: &Arc<Self>, now: Reading) {
        let epoch = self.source.epoch();
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let over = state.settle(now, epoch, self.settings.lost_after());
        let still_due = self
            .cell
            .read(|entry| entry.is_some_and(|e| e.schedule.standing(now) == Standing::Due));
        let idle = matches!(state.phase, Phase::Idle);
        let begun = (still_due && idle && State::has_runtime()).then(|| {
            let reason = match state.epoch == state.published_epoch {
                true => Reason::Ahead,
                false => Reason::SecretChanged,
            };
            state.begin(reason, now, 1)
        });
        drop(state);
        self.after(over, begun, None);
    }

    /// The whole decision, under the lock.
    fn look_closer(self: &Arc<Self>, want: Want, now: Reading, rejected: Option<u64>) -> Look {
        // The source's code runs before the lock is taken.
        let epoch = self.source.epoch();
        let mut state = self.lock();
        let over = state.settle(now, epoch, self.settings.lost_after());
        let current = self.cell.current();
        let rejected = current
            .as_ref()
            .filter(|entry| Some(entry.generation()) == rejected && entry.mark_rejected());
        let newly_rejected = rejected.map(|entry| entry.generation());
        if let Some(entry) = rejected {
            state.note_rejection(entry);
            let unjudged = self.unjudged.swap(0, Ordering::Relaxed);
            if unjudged == entry.generation() {
                // It replaced a rejected one, and was no better.
                state.limiter.healed(false);
            }
        }
        let (look, begun) = self.decide(
            &mut state,
            current.as_ref(),
            want,
            newly_rejected.is_some(),
            now,
        );
        drop(state);
        self.after(over, begun, newly_rejected);
        look
    }

    fn decide(
        &self,
        state: &mut State,
        current: Option<&Arc<Entry>>,
        want: Want,
        newly_rejected: bool,
        now: Reading,
    ) -> (Look, Option<Arc<InFlight>>) {
        let alive = current.filter(|entry| !entry.is_expired(now));
        // What this caller is served where no refresh is to be had: a rejected token that others saw rejected,
        // or a token that lasts less long than was asked for.
        let fallback = alive.filter(|entry| want.takes(entry));
        let good = fallback
            .filter(|entry| !entry.is_rejected() && entry.schedule.lasts(want.remaining, now));
        if let Some(entry) = good {
            return (Look::Serve(entry.token.clone()), None);
        }
        let or_fallback = |error: Error| match fallback {
            Some(entry) => Look::Serve(entry.token.clone()),
            None => Look::Fail(error),
        };
        let (refresh, begun) = match &state.phase {
            Phase::Refreshing { refresh, .. } => {
                let refresh = refresh.clone();
                if want.force {
                    state.note_force();
                }
                (refresh, None)
            }
            Phase::Backoff { until, error, .. } => {
                let left = until.map(|until| now.until(until));
                let error = error.clone().with_next_try(left);
                return (or_fallback(error), None);
            }
            Phase::Idle => {
                let reason = match (current, alive) {
                    (None, _) => Reason::Initial,
                    _ if state.epoch != state.published_epoch => Reason::SecretChanged,
                    (_, None) => Reason::Expired,
                    _ if want.force => Reason::Forced,
                    (_, Some(entry)) if !entry.is_rejected() && want.may_have(entry) => {
                        Reason::Ahead
                    }
                    _ => Reason::Rejected,
                };
                match (reason, alive) {
                    // What was fetched just now is new enough for anybody.
                    (Reason::Forced, Some(entry))
                        if !entry.is_rejected() && state.has_just_published(now) =>
                    {
                        return (Look::Serve(entry.token.clone()), None);
                    }
                    _ if !State::has_runtime() => {
                        return (or_fallback(Error::new(Kind::NoRuntime)), None);
                    }
                    (Reason::Rejected, _) => {
                        if let Err(wait) = state.limiter.take(now) {
                            let limited = Error::new(Kind::Limited).with_next_try(Some(wait));
                            return (or_fallback(limited), None);
                        }
                    }
                    _ => {}
                }
                let attempts = match alive {
                    Some(_) => 1,
                    None => self.settings.attempts,
                };
                let refresh = state.begin(reason, now, attempts);
                (refresh.clone(), Some(refresh))
            }
        };
        if newly_rejected {
            state.expect_replacement(now);
        }
        let left = refresh.time_left(now, self.settings.lost_after());
        let at_most = match (fallback, state.replacement_wait) {
            (None, _) => left,
            (Some(entry), _) if !entry.is_rejected() => left,
            (Some(_), Some(until)) if !now.has_reached(until) => now.until(until).min(left),
            (Some(entry), _) => return (Look::Serve(entry.token.clone()), begun),
        };
        let look = Look::Wait {
            refresh,
            at_most,
            fallback: fallback.is_some(),
        };
        (look, begun)
    }

    /// What must happen outside the lock: it runs wakers, a task's drop, and last the log's and the
    /// metrics' code, so that nothing is left undone if that panics.
    fn after(
        self: &Arc<Self>,
        over: Option<Phase>,
        begun: Option<Arc<InFlight>>,
        rejected: Option<u64>,
    ) {
        let lost = match over {
            Some(Phase::Refreshing { refresh, .. }) => {
                refresh.give_up();
                Some(refresh)
            }
            _ => None,
        };
        if let Some(refresh) = begun {
            task::launch(self, refresh);
        }
        if self.warm.needs_host() {
            warm::host(self);
        }
        if let Some(generation) = rejected {
            self.telemetry.rejected(generation);
        }
        if let Some(refresh) = lost {
            self.completed(&refresh, &Completion::Abandoned, self.clock.now());
        }
    }

    /// What `status` shows of the phase: its name, the time to the next try, the last error.
    pub(crate) fn phase(&self) -> (crate::observe::Phase, Option<Duration>, Option<Error>) {
        use crate::observe::Phase as Shown;
        let now = self.clock.now();
        match &self.lock().phase {
            Phase::Idle => (Shown::Idle, None, None),
            Phase::Refreshing { .. } => (Shown::Refreshing, None, None),
            Phase::Backoff { until, .. } if until.is_some_and(|it| now.has_reached(it)) => {
                (Shown::Idle, None, None)
            }
            Phase::Backoff { until, error, .. } => {
                let left = until.map(|until| now.until(until));
                (Shown::Backoff, left, Some(error.clone()))
            }
        }
    }

    /// Whether the last refresh failed.
    pub(crate) fn last_refresh_failed(&self) -> bool {
        let state = self.lock();
        state.failures > 0 || state.refusals > 0
    }

    /// A number in `0.0..1.0`.
    pub(crate) fn chance(&self) -> f64 {
        self.lock().chance.f64()
    }

    /// A sleep on the cache's clock.
    ///
    /// # Errors
    ///
    /// If there is no timer to sleep on. Tokio says so by a panic, and offers no way to ask first.
    pub(crate) fn sleep(&self, duration: Duration) -> Result<Sleep, Error> {
        catch_unwind(AssertUnwindSafe(|| self.clock.sleep(duration)))
            .map_err(|_| Error::new(Kind::NoRuntime))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code of other people's runs under this lock, so nothing panics while it is held.
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
