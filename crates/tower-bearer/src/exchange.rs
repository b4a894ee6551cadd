//! The task that flies: asks the source, in time and as often as it may, and lands.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use tokio::runtime::Handle;
use tracing::Instrument;

use crate::{
    clock::{Reading, Sleep},
    error::Kind,
    flight::{Flight, Landing},
    limit,
    renewal::{Core, Verdict},
    source::{ErasedSource, Fetch, FetchContext, SourceError},
    token::Token,
};

/// Spawns the task for a flight that has begun, on the runtime of whoever looked.
///
/// It must not be called under the cache's lock: a runtime that is shutting down drops the task at
/// once, which takes that lock.
pub(crate) fn launch(core: &Arc<Core>, flight: Arc<Flight>) {
    if cfg!(all(test, tower_bearer_loom)) {
        // The test flies itself.
        return;
    }
    let guard = LandOnDrop {
        core: Arc::downgrade(core),
        flight,
    };
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let timer = match core.sleep(core.settings.flight_timeout) {
        Ok(timer) => timer,
        Err(error) => {
            guard.flight.land(Landing::Failed(error));
            return;
        }
    };
    let flight = guard.flight.clone();
    let span = core.telemetry.span(&flight);
    let task = runtime.spawn(fly(guard, core.source.clone(), timer).instrument(span));
    flight.set_task(task.abort_handle());
}

/// Lands the flight if its task ends without a result: with its runtime.
struct LandOnDrop {
    /// The task does not keep its cache alive: with the last handle it is aborted (G31).
    core: Weak<Core>,
    flight: Arc<Flight>,
}

impl Drop for LandOnDrop {
    fn drop(&mut self) {
        match self.core.upgrade() {
            Some(core) => core.lose(&self.flight),
            None => self.flight.land(Landing::Void),
        }
    }
}

async fn fly(guard: LandOnDrop, source: Arc<dyn ErasedSource>, mut total: Sleep) {
    let flight = &guard.flight;
    let mut attempt = 1;
    loop {
        let Some(core) = guard.core.upgrade() else {
            return;
        };
        if flight.has_landed() {
            // It was given up, and another may be under way.
            return;
        }
        let settings = core.settings;
        let sent = core.clock.now();
        let left = flight.time_left(sent, settings.flight_timeout);
        let at_most = settings.attempt_timeout.min(left);
        let Ok(timer) = core.sleep(at_most) else {
            return;
        };
        core.telemetry.fetching(flight, attempt);
        // While the source is asked nothing here keeps the cache alive.
        drop(core);

        let cx = FetchContext::new(flight.reason, attempt, at_most);
        let fetched = before(Caught::new(|| source.fetch(&cx)), timer, &mut total).await;
        let result = fetched.unwrap_or_else(|| Err(timed_out(&*source, at_most)));

        let Some(core) = guard.core.upgrade() else {
            return;
        };
        if let Some(wait) = next_attempt(&core, flight, attempt, &result) {
            tracing::debug!(attempt, wait_ms = wait.as_millis() as u64, "attempt failed");
            let Ok(pause) = core.sleep(wait) else {
                return;
            };
            drop(core);
            pause.await;
            attempt += 1;
            continue;
        }
        match core.land(flight, sent, result, source.epoch(), &source.describe()) {
            Verdict::Landed => return,
            Verdict::AskAgain => attempt += 1,
        }
    }
}

/// How long to wait before another attempt in this flight, if there is one.
fn next_attempt(
    core: &Core,
    flight: &Flight,
    attempt: u32,
    result: &Result<Token, SourceError>,
) -> Option<Duration> {
    let error = result.as_ref().err()?;
    if attempt >= flight.attempts || !error.is_worth_another_attempt() {
        return None;
    }
    let backoff = limit::attempt_delay(attempt, core.chance());
    let wait = backoff.max(error.asked_delay().unwrap_or_default());
    let now: Reading = core.clock.now();
    (wait < flight.time_left(now, core.settings.flight_timeout)).then_some(wait)
}

fn timed_out(source: &dyn ErasedSource, after: Duration) -> SourceError {
    let after = match after.as_secs_f64() {
        secs if secs < 1.0 => format!("{} ms", after.as_millis()),
        secs => format!("{secs:.0} s"),
    };
    let source = source.describe();
    let message =
        format!("{source} did not answer within {after}: check that it is up and in reach");
    SourceError::new(Kind::TimedOut, message)
}

/// A fetch whose panic is a failure (A06).
enum Caught<'a> {
    Fetching(Fetch<'a>),
    Panicked,
}

impl<'a> Caught<'a> {
    fn new(fetch: impl FnOnce() -> Fetch<'a>) -> Self {
        catch_unwind(AssertUnwindSafe(fetch)).map_or(Self::Panicked, Self::Fetching)
    }
}

impl Future for Caught<'_> {
    type Output = Result<Token, SourceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Self::Fetching(fetch) = &mut *self {
            // What panicked is not polled again.
            match catch_unwind(AssertUnwindSafe(|| fetch.as_mut().poll(cx))) {
                Ok(poll) => return poll,
                Err(_) => *self = Self::Panicked,
            }
        }
        let error = SourceError::new(Kind::Panicked, "the token source panicked");
        Poll::Ready(Err(error))
    }
}

/// The future's output, or `None` if one of the two timers is first.
async fn before<F: Future>(future: F, timer: Sleep, total: &mut Sleep) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = timer;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if timer.as_mut().poll(cx).is_ready() || total.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await
}
