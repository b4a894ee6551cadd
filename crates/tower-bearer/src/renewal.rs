//! Decides who is served, who waits and when a flight begins: idle, flying, cooling.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    cell::{Cell, Entry},
    clock::{Clock, Reading, Sleep},
    error::{Error, Kind},
    event::{self, Counters, Reason},
    exchange,
    flight::{Flight, Landing},
    lifetime::{self, Schedule, Standing},
    limit::{self, Limiter},
    source::{ErasedSource, SourceError},
    token::Token,
};

/// The longest that anybody waits for the first replacement of a suspect (G38).
const SUSPECT_WAIT: Duration = Duration::from_secs(2);

/// The shortest time between two flights that `refresh` forces.
const FORCED_INTERVAL: Duration = Duration::from_secs(1);

/// How far beyond its total time-out a flight is taken for lost: a flight on a running runtime has
/// landed by then, so only one on a parked runtime is replaced (A14).
const PARKED_GRACE: Duration = Duration::from_secs(1);

/// What can be set on a cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) lifetime: lifetime::Policy,
    pub(crate) attempts: u32,
    pub(crate) attempt_timeout: Duration,
    pub(crate) flight_timeout: Duration,
}

/// What all clones of one cache share.
pub(crate) struct Core {
    pub(crate) cell: Cell,
    pub(crate) source: Arc<dyn ErasedSource>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    pub(crate) counters: Counters,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// Failed flights in a row of one sort: refusals, or anything else.
    failures: u32,
    refused: bool,
    /// The generation that was published last.
    generation: u64,
    /// The epoch of the secret that the last published token was fetched with.
    published_epoch: u64,
    /// When the last token was published.
    published_at: Option<Reading>,
    /// The token that was rejected last: it is not taken again before it expires, even if the source
    /// hands it out.
    rejected: Option<Arc<Entry>>,
    /// Until when others than those who saw the rejection wait for a suspect's first replacement.
    suspect_wait: Option<Reading>,
    limiter: Limiter,
    chance: fastrand::Rng,
}

#[derive(Debug)]
enum Phase {
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

/// What a caller gets who looks for a token.
#[derive(Debug)]
pub(crate) enum Look {
    Serve(Token),
    /// Wait for this flight, `at_most` so long, then look again.
    Wait {
        flight: Arc<Flight>,
        at_most: Duration,
        /// Whether a suspect may be served if the flight fails.
        fallback: bool,
    },
    Fail(Error),
}

/// Who looks, and what for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    /// The generation that the caller saw rejected and is never handed again (G13).
    avoid: Option<u64>,
    /// Only a flight's result will do; never what stands in the cell already.
    force: bool,
}

impl Want {
    fn takes(self, entry: &Entry) -> bool {
        !self.force && self.avoid != Some(entry.generation())
    }

    pub(crate) const ANY: Self = Self {
        avoid: None,
        force: false,
    };

    pub(crate) const NEW: Self = Self {
        avoid: None,
        force: true,
    };

    pub(crate) fn other_than(generation: u64) -> Self {
        Self {
            avoid: Some(generation),
            force: false,
        }
    }
}

/// What becomes of a flight's result.
pub(crate) enum Verdict {
    Landed,
    /// The source handed out the token that was rejected meanwhile: ask once more.
    AskAgain,
}

impl Core {
    pub(crate) fn new(
        source: Arc<dyn ErasedSource>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        chance: fastrand::Rng,
    ) -> Self {
        Self {
            cell: Cell::default(),
            source,
            clock,
            settings,
            counters: Counters::default(),
            state: Mutex::new(State {
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
            }),
        }
    }

    /// Looks for a token. A fresh one takes no lock; a due one is served, and a flight begins.
    pub(crate) fn look(self: &Arc<Self>, want: Want) -> Look {
        let now = self.clock.now();
        if want.force {
            return self.look_closer(want, now, None);
        }
        let usable = self.cell.read(|entry| {
            let entry = entry.filter(|entry| !entry.is_suspect())?;
            if want.avoid == Some(entry.generation()) {
                return None;
            }
            let standing = entry.schedule.standing(now);
            (standing != Standing::Expired).then(|| (entry.token.clone(), standing))
        });
        match usable {
            Some((token, Standing::Fresh)) => Look::Serve(token),
            Some((token, _)) => {
                self.renew_ahead(now);
                Look::Serve(token)
            }
            None => self.look_closer(want, now, None),
        }
    }

    /// Marks the token of `generation` as rejected if it is still the current one, begins or joins a
    /// flight, and looks for another.
    pub(crate) fn reject(self: &Arc<Self>, generation: u64) -> Look {
        let now = self.clock.now();
        self.look_closer(Want::other_than(generation), now, Some(generation))
    }

    /// Notes whether a request that was sent again with a renewed token was taken.
    pub(crate) fn healed(&self, healed: bool) {
        self.lock().limiter.healed(healed);
    }

    /// Begins a flight while the due token is served. If somebody else holds the lock, they see to
    /// it, or the next request does: nobody waits.
    fn renew_ahead(self: &Arc<Self>, now: Reading) {
        let epoch = self.source.epoch();
        let Ok(mut state) = self.state.try_lock() else {
            return;
        };
        let lost = state.settle(now, epoch, self.settings.flight_timeout);
        let still_due = self
            .cell
            .read(|entry| entry.is_some_and(|e| e.schedule.standing(now) == Standing::Due));
        let begun = if still_due && matches!(state.phase, Phase::Idle) {
            let reason = if epoch == state.published_epoch {
                Reason::Ahead
            } else {
                Reason::SecretChanged
            };
            state.begin(reason, epoch, now, 1)
        } else {
            None
        };
        drop(state);
        self.after(lost, begun);
    }

    /// The whole decision, under the lock.
    fn look_closer(self: &Arc<Self>, want: Want, now: Reading, rejected: Option<u64>) -> Look {
        // The source's code runs before the lock is taken.
        let epoch = self.source.epoch();
        let mut state = self.lock();
        let lost = state.settle(now, epoch, self.settings.flight_timeout);
        let current = self.cell.current();
        let rejected = current
            .as_ref()
            .filter(|entry| Some(entry.generation()) == rejected && entry.mark_suspect());
        if let Some(entry) = rejected {
            self.counters.rejections.fetch_add(1, Relaxed);
            state.note_rejection(entry);
        }
        let newly_rejected = rejected.is_some();
        let (look, begun) = self.decide(
            &mut state,
            current.as_ref(),
            want,
            newly_rejected,
            now,
            epoch,
        );
        drop(state);
        if matches!(look, Look::Wait { .. }) {
            self.counters.waits.fetch_add(1, Relaxed);
        }
        self.after(lost, begun);
        look
    }

    fn decide(
        &self,
        state: &mut State,
        current: Option<&Arc<Entry>>,
        want: Want,
        newly_rejected: bool,
        now: Reading,
        epoch: u64,
    ) -> (Look, Option<Arc<Flight>>) {
        let alive = current.filter(|entry| !entry.is_expired(now));
        if let Some(entry) = alive.filter(|entry| want.takes(entry) && !entry.is_suspect()) {
            return (Look::Serve(entry.token.clone()), None);
        }
        // What this caller is served where no flight is to be had: a suspect that others saw rejected.
        let fallback = alive.filter(|entry| want.takes(entry));
        let or_fallback = |error: Error| match fallback {
            Some(entry) => Look::Serve(entry.token.clone()),
            None => Look::Fail(error),
        };
        let (flight, begun) = match &state.phase {
            Phase::Flying { flight, .. } => (flight.clone(), None),
            Phase::Cooling { until, error, .. } => {
                let error = error.clone().with_next_try(now.until(*until));
                return (or_fallback(error), None);
            }
            Phase::Idle => {
                let reason = match (current, alive) {
                    (None, _) => Reason::Initial,
                    _ if epoch != state.published_epoch => Reason::SecretChanged,
                    (_, None) => Reason::Expired,
                    (_, Some(entry)) if entry.is_suspect() => Reason::Rejected,
                    _ => Reason::Forced,
                };
                match (reason, alive) {
                    // What was fetched just now is new enough for anybody.
                    (Reason::Forced, Some(entry)) if state.has_just_published(now) => {
                        return (Look::Serve(entry.token.clone()), None);
                    }
                    (Reason::Rejected, _) => {
                        if let Err(wait) = state.limiter.take(now) {
                            let limited = Error::new(Kind::Limited).with_next_try(wait);
                            return (or_fallback(limited), None);
                        }
                    }
                    _ => {}
                }
                let attempts = match alive {
                    Some(_) => 1,
                    None => self.settings.attempts,
                };
                match state.begin(reason, epoch, now, attempts) {
                    Some(flight) => (flight.clone(), Some(flight)),
                    None => return (or_fallback(Error::new(Kind::NoRuntime)), None),
                }
            }
        };
        if newly_rejected {
            state.expect_replacement(now);
        }
        let left = flight.time_left(now, self.settings.flight_timeout + PARKED_GRACE);
        let at_most = match (fallback, state.suspect_wait) {
            (None, _) => left,
            (Some(_), Some(until)) if !now.has_reached(until) => now.until(until).min(left),
            (Some(entry), _) => return (Look::Serve(entry.token.clone()), begun),
        };
        let look = Look::Wait {
            flight,
            at_most,
            fallback: fallback.is_some(),
        };
        (look, begun)
    }

    /// What must happen outside the lock: it runs wakers, and a task's drop.
    fn after(self: &Arc<Self>, lost: Option<Arc<Flight>>, begun: Option<Arc<Flight>>) {
        if let Some(lost) = lost {
            lost.give_up();
        }
        if let Some(flight) = begun {
            exchange::launch(self, flight);
        }
    }

    /// Takes a flight's result: publishes its token, or begins to cool. `epoch` is the source's now.
    pub(crate) fn land(
        &self,
        flight: &Arc<Flight>,
        sent: Reading,
        result: Result<Token, SourceError>,
        epoch: u64,
    ) -> Verdict {
        let now = self.clock.now();
        let mut state = self.lock();
        if !state.is_flying(flight) {
            // It was given up; those who waited look elsewhere already.
            return Verdict::Landed;
        }
        if result
            .as_ref()
            .is_ok_and(|token| state.was_rejected(token, now))
            && state.takes_another_try()
        {
            return Verdict::AskAgain;
        }
        let landing = if epoch != flight.epoch {
            state.phase = Phase::Idle;
            Landing::Void
        } else {
            match result.and_then(|token| self.accept(&mut state, flight, token, sent, now)) {
                Ok(entry) => {
                    state.published(flight, &entry, now);
                    self.cell.publish(entry.clone());
                    self.counters.renewed(flight.reason);
                    Landing::Token(entry)
                }
                Err(error) => {
                    self.counters.failed_flights.fetch_add(1, Relaxed);
                    let left = self
                        .cell
                        .read(|entry| entry.map(|entry| now.until(entry.schedule.hard_expiry)))
                        .filter(|left| !left.is_zero());
                    Landing::Failed(state.cool(error, epoch, left, now))
                }
            }
        };
        drop(state);
        event::landed(flight, &landing, now);
        flight.land(landing);
        Verdict::Landed
    }

    /// A flight whose task ended without a result: its runtime is gone.
    pub(crate) fn lose(&self, flight: &Arc<Flight>) {
        let mut state = self.lock();
        if state.is_flying(flight) {
            state.phase = Phase::Idle;
        }
        drop(state);
        flight.land(Landing::Void);
    }

    /// Whether the fetched token may take the place of the current one (G20).
    fn accept(
        &self,
        state: &mut State,
        flight: &Flight,
        token: Token,
        sent: Reading,
        now: Reading,
    ) -> Result<Arc<Entry>, SourceError> {
        let policy = &self.settings.lifetime;
        let schedule = lifetime::lifetime(&token, sent, policy)
            .map(|lifetime| Schedule::new(sent, lifetime, policy, state.chance.f64()))
            .filter(|schedule| schedule.standing(now) != Standing::Expired)
            .ok_or_else(|| SourceError::malformed("the fetched token has expired already"))?;
        if state.was_rejected(&token, now) {
            return Err(SourceError::malformed(
                "the fetched token is the one that was rejected",
            ));
        }
        let current = self.cell.current();
        let good = current.as_ref().filter(|entry| entry.is_usable(now));
        let same = good.filter(|entry| entry.token.same_secret(&token));
        if let Some(entry) = good {
            // What is left is compared, since the clocks may have parted since the last renewal.
            let left = now.until(schedule.hard_expiry);
            let gained = left.saturating_sub(now.until(entry.schedule.hard_expiry));
            // Where a lifetime is told in whole seconds, the same instant may look up to one later.
            if same.is_some() && gained <= Duration::from_secs(1) {
                return Err(SourceError::malformed(
                    "the fetched token is the current one again and lives no longer",
                ));
            }
            if flight.reason == Reason::Ahead && gained.is_zero() {
                return Err(SourceError::malformed(
                    "the fetched token expires no later than the current one",
                ));
            }
        }
        let generation = match same {
            Some(entry) => entry.generation(),
            None => state.generation + 1,
        };
        Ok(Arc::new(Entry::new(
            token.with_generation(generation),
            schedule,
        )))
    }

    /// What `status` shows of the phase: its name, the time to the next try, the last error.
    pub(crate) fn phase(&self) -> (crate::status::Phase, Option<Duration>, Option<Error>) {
        use crate::status::Phase as Shown;
        let now = self.clock.now();
        match &self.lock().phase {
            Phase::Idle => (Shown::Idle, None, None),
            Phase::Flying { .. } => (Shown::Flying, None, None),
            Phase::Cooling { until, .. } if now.has_reached(*until) => (Shown::Idle, None, None),
            Phase::Cooling { until, error, .. } => {
                (Shown::Cooling, Some(now.until(*until)), Some(error.clone()))
            }
        }
    }

    /// Whether the last flight failed.
    pub(crate) fn last_flight_failed(&self) -> bool {
        self.lock().failures > 0
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

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of other people's runs under this lock, so nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets go of a flight that is lost or whose secret has changed, and of cooling that is over.
    /// Returns the flight, which must be given up outside the lock.
    fn settle(&mut self, now: Reading, epoch: u64, timeout: Duration) -> Option<Arc<Flight>> {
        let over = match &self.phase {
            Phase::Idle => false,
            Phase::Flying { flight, .. } => {
                flight.epoch != epoch || flight.time_left(now, timeout + PARKED_GRACE).is_zero()
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
    fn begin(
        &mut self,
        reason: Reason,
        epoch: u64,
        now: Reading,
        attempts: u32,
    ) -> Option<Arc<Flight>> {
        Handle::try_current().ok()?;
        let flight = Flight::new(reason, epoch, now, attempts);
        self.phase = Phase::Flying {
            flight: flight.clone(),
            rejected_meanwhile: false,
        };
        Some(flight)
    }

    fn is_flying(&self, this: &Arc<Flight>) -> bool {
        matches!(&self.phase, Phase::Flying { flight, .. } if Arc::ptr_eq(flight, this))
    }

    fn note_rejection(&mut self, entry: &Arc<Entry>) {
        self.rejected = Some(entry.clone());
        self.suspect_wait = None;
        if let Phase::Flying {
            rejected_meanwhile, ..
        } = &mut self.phase
        {
            *rejected_meanwhile = true;
        }
    }

    fn was_rejected(&self, token: &Token, now: Reading) -> bool {
        self.rejected
            .as_ref()
            .is_some_and(|entry| !entry.is_expired(now) && entry.token.same_secret(token))
    }

    fn has_just_published(&self, now: Reading) -> bool {
        self.published_at
            .is_some_and(|at| now.since(at) < FORCED_INTERVAL)
    }

    /// Lets others wait for the flight that replaces a suspect, unless renewals heal nothing anyway.
    fn expect_replacement(&mut self, now: Reading) {
        self.suspect_wait = (!self.limiter.is_futile()).then(|| now + SUSPECT_WAIT);
    }

    /// Whether the current token was rejected while this flight was under way; says so once.
    fn takes_another_try(&mut self) -> bool {
        match &mut self.phase {
            Phase::Flying {
                rejected_meanwhile, ..
            } => std::mem::take(rejected_meanwhile),
            _ => false,
        }
    }

    fn published(&mut self, flight: &Flight, entry: &Entry, now: Reading) {
        self.phase = Phase::Idle;
        self.failures = 0;
        self.generation = entry.generation();
        self.published_epoch = flight.epoch;
        self.published_at = Some(now);
        self.suspect_wait = None;
    }

    fn cool(
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

impl Drop for Core {
    fn drop(&mut self) {
        let phase = std::mem::replace(&mut self.lock().phase, Phase::Idle);
        if let Phase::Flying { flight, .. } = phase {
            flight.give_up();
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}
