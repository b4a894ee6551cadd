//! The task of one refresh: calls the source, with its time-outs and attempts, and completes the refresh.

use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use tokio::runtime::Handle;
use tracing::{Instrument, Span};

use crate::{
    clock::{Reading, Sleep},
    error::{Kind, SourceError},
    source::{ErasedSource, Fetch, FetchContext},
    token::Token,
};

use super::{
    core::{Core, Next},
    fetching::{self, Asked},
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
    let timer = core.sleep(core.settings.refresh_timeout);
    let refresh = guard.refresh.clone();
    let span = core.telemetry.span(refresh.reason);
    let task = runtime.spawn(whole(guard, core.source.clone(), timer, span));
    refresh.set_task(task.abort_handle());
}

/// Runs a refresh. It calls foreign code throughout (the source, logs, metrics); whatever of that panics,
/// those who wait get a failed refresh, and not a lost one, which they would begin anew.
async fn whole(guard: CompleteOnDrop, source: Arc<dyn ErasedSource>, timer: Sleep, span: Span) {
    let mut run = pin!(run(&guard, source, timer).instrument(span));
    let unwound = poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx)));
        polled.map_or(Poll::Ready(true), |poll| poll.map(|()| false))
    });
    if unwound.await {
        if let Some(core) = guard.core.upgrade() {
            core.fail(&guard.refresh, &panicked());
        }
    }
}

fn panicked() -> SourceError {
    SourceError::new(Kind::Panicked, "the token source panicked")
        .with_advice("mend the source, or the log or metrics that it writes: a panic is a bug")
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

async fn run(guard: &CompleteOnDrop, source: Arc<dyn ErasedSource>, mut total: Sleep) {
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
        let timer = core.sleep(at_most);
        let id = core.id;
        core.telemetry.fetching(refresh.reason, attempt);
        // While the source works, the task does not keep the cache alive (G31).
        drop(core);

        let cx = FetchContext::new(refresh.reason, attempt, at_most);
        let fetch = Caught::new(id, || source.fetch(&cx));
        let fetched = before(fetch, timer, &mut total).await;
        let result = fetched.unwrap_or_else(|| Err(timed_out(&*source, at_most)));

        let Some(core) = guard.core.upgrade() else {
            return;
        };
        if let Some(wait) = next_attempt(&core, refresh, attempt, &result) {
            core.telemetry.attempt_failed(attempt, wait);
            let pause = core.sleep(wait);
            drop(core);
            pause.await;
            attempt += 1;
            continue;
        }
        let epoch = catch_unwind(AssertUnwindSafe(|| source.epoch()));
        let described = described(&*source);
        let result = match (&epoch, &described) {
            (Ok(_), Some(_)) => result,
            // A source that panics here will panic again, so it is not called again at once.
            _ => Err(panicked()),
        };
        let epoch = epoch.unwrap_or(refresh.epoch);
        let described = described.as_deref().unwrap_or(UNNAMED);
        match core.complete(refresh, sent, result, epoch, described) {
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

/// What the source calls itself, unless it panics.
fn described(source: &dyn ErasedSource) -> Option<Cow<'_, str>> {
    catch_unwind(AssertUnwindSafe(|| source.describe())).ok()
}

/// What errors call a source that cannot say.
const UNNAMED: &str = "the token source";

fn timed_out(source: &dyn ErasedSource, after: Duration) -> SourceError {
    let after = match after.as_secs_f64() {
        secs if secs < 1.0 => format!("{} ms", after.as_millis()),
        secs => format!("{secs:.0} s"),
    };
    let source = described(source);
    let source = source.as_deref().unwrap_or(UNNAMED);
    let message = format!("{source} did not answer within {after}");
    SourceError::new(Kind::TimedOut, message).with_advice("check that it is up and in reach")
}

/// A fetch whose panic becomes a failure (A06), and which is noticed if it asks its own cache (G46).
struct Caught<'a> {
    /// The cache that it works for.
    cache: u64,
    asked: Asked,
    /// `None` once it has ended, or if it panicked when it was made.
    fetch: Option<Fetch<'a>>,
}

impl<'a> Caught<'a> {
    fn new(cache: u64, fetch: impl FnOnce() -> Fetch<'a>) -> Self {
        let asked = Asked::default();
        let made = fetching::within(cache, &asked, || catch_unwind(AssertUnwindSafe(fetch)));
        Self {
            cache,
            asked,
            fetch: made.ok(),
        }
    }

    /// Drops the fetch. Returns whether that went without a panic.
    fn end(&mut self) -> bool {
        let fetch = self.fetch.take();
        let ended = || catch_unwind(AssertUnwindSafe(|| drop(fetch)));
        fetching::within(self.cache, &self.asked, ended).is_ok()
    }
}

impl Future for Caught<'_> {
    type Output = Result<Token, SourceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(fetch) = &mut this.fetch else {
            return Poll::Ready(Err(panicked()));
        };
        let poll = || catch_unwind(AssertUnwindSafe(|| fetch.as_mut().poll(cx)));
        let result = match fetching::within(this.cache, &this.asked, poll) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result,
            // What panicked is not polled again.
            Err(_) => Err(panicked()),
        };
        let result = match this.end() {
            true => result,
            false => Err(panicked()),
        };
        Poll::Ready(result.map_err(|error| match this.asked.is_noted() {
            true => SourceError::reentrant(error),
            false => error,
        }))
    }
}

impl Drop for Caught<'_> {
    fn drop(&mut self) {
        // It has failed already if it is dropped before its end; the panic hook has reported a panic.
        let _reported = self.end();
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
