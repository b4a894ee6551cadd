//! The task of one refresh: calls the source, with its time-outs and attempts, and completes the refresh.

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
    error::{Kind, SourceError},
    source::{ErasedSource, Fetch, FetchContext},
    token::Token,
};

use super::{
    core::{Core, Next},
    in_flight::InFlight,
    limit,
    wait_list::Completion,
};

/// Spawns the task of a refresh that has begun, on the runtime of whoever looked.
///
/// The caller must not hold the cache's lock: a runtime that is shutting down drops the task at once,
/// which takes that lock.
pub(super) fn launch(core: &Arc<Core>, refresh: Arc<InFlight>) {
    let guard = CompleteOnDrop {
        core: Arc::downgrade(core),
        refresh,
    };
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let timer = match core.sleep(core.settings.refresh_timeout) {
        Ok(timer) => timer,
        Err(error) => {
            guard.refresh.complete(Completion::Failed(error));
            return;
        }
    };
    let refresh = guard.refresh.clone();
    let span = core.telemetry.span(refresh.reason);
    let task = runtime.spawn(run(guard, core.source.clone(), timer).instrument(span));
    refresh.set_task(task.abort_handle());
}

/// Completes the refresh if its task ends without a result, with its runtime for example.
struct CompleteOnDrop {
    /// The task does not keep its cache alive: with the last handle it is aborted (G31).
    core: Weak<Core>,
    refresh: Arc<InFlight>,
}

impl Drop for CompleteOnDrop {
    fn drop(&mut self) {
        match self.core.upgrade() {
            Some(core) => core.lose(&self.refresh),
            None => self.refresh.complete(Completion::Abandoned),
        }
    }
}

async fn run(guard: CompleteOnDrop, source: Arc<dyn ErasedSource>, mut total: Sleep) {
    let refresh = &guard.refresh;
    let mut attempt = 1;
    loop {
        let Some(core) = guard.core.upgrade() else {
            return;
        };
        if refresh.has_completed() {
            // It was given up, and another may be in flight.
            return;
        }
        let settings = core.settings;
        let sent = core.clock.now();
        let left = refresh.time_left(sent, settings.refresh_timeout);
        let at_most = settings.attempt_timeout.min(left);
        let Ok(timer) = core.sleep(at_most) else {
            return;
        };
        core.telemetry.fetching(refresh.reason, attempt);
        // While the source works, the task does not keep the cache alive (G31).
        drop(core);

        let cx = FetchContext::new(refresh.reason, attempt, at_most);
        let fetched = before(Caught::new(|| source.fetch(&cx)), timer, &mut total).await;
        let result = fetched.unwrap_or_else(|| Err(timed_out(&*source, at_most)));

        let Some(core) = guard.core.upgrade() else {
            return;
        };
        if let Some(wait) = next_attempt(&core, refresh, attempt, &result) {
            tracing::debug!(attempt, wait_ms = wait.as_millis() as u64, "attempt failed");
            let Ok(pause) = core.sleep(wait) else {
                return;
            };
            drop(core);
            pause.await;
            attempt += 1;
            continue;
        }
        match core.complete(refresh, sent, result, source.epoch(), &source.describe()) {
            Next::End => return,
            Next::AskAgain => attempt += 1,
        }
    }
}

/// Returns how long to wait before another attempt in this refresh, if there is one.
fn next_attempt(
    core: &Core,
    refresh: &InFlight,
    attempt: u32,
    result: &Result<Token, SourceError>,
) -> Option<Duration> {
    let error = result.as_ref().err()?;
    if attempt >= refresh.attempts || !error.is_transient() {
        return None;
    }
    let backoff = limit::attempt_delay(attempt, core.chance());
    let wait = backoff.max(error.asked_delay().unwrap_or_default());
    let now: Reading = core.clock.now();
    (wait < refresh.time_left(now, core.settings.refresh_timeout)).then_some(wait)
}

fn timed_out(source: &dyn ErasedSource, after: Duration) -> SourceError {
    let after = match after.as_secs_f64() {
        secs if secs < 1.0 => format!("{} ms", after.as_millis()),
        secs => format!("{secs:.0} s"),
    };
    let source = source.describe();
    let message = format!("{source} did not answer within {after}");
    SourceError::new(Kind::TimedOut, message).with_advice("check that it is up and in reach")
}

/// A fetch whose panic becomes a failure (A06).
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
        let error = SourceError::new(Kind::Panicked, "the token source panicked")
            .with_advice("mend the source: its panic is a bug");
        Poll::Ready(Err(error))
    }
}

/// Returns the future's output, or `None` if one of the two timers ends first.
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
