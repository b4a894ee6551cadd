//! One refresh, as those see it who wait for it: a shared handle that completes once.

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::task::AbortHandle;

use crate::{
    clock::Reading,
    error::Error,
    observe::Reason,
    sync::{Mutex, MutexGuard},
};

use super::cell::Entry;

/// How a refresh ended.
#[derive(Clone, Debug)]
pub(crate) enum Completion {
    /// With a token, which is published.
    Token(Arc<Entry>),
    /// Without; all who waited share the error.
    Failed(Error),
    /// Without a result: its runtime went away, or the secret changed meanwhile. Whoever waits looks
    /// again (A13, A14, G9).
    Abandoned,
}

/// One exchange with the source.
pub(crate) struct InFlight {
    pub(crate) reason: Reason,
    /// The source's epoch when it began.
    pub(crate) epoch: u64,
    pub(crate) began: Reading,
    /// How many attempts it has.
    pub(crate) attempts: u32,
    progress: Mutex<Progress>,
}

enum Progress {
    Running {
        waiters: Waiters,
        task: Option<AbortHandle>,
    },
    Completed(Completion),
}

/// The wakers of those who wait. Each owns its place until it leaves.
#[derive(Default)]
struct Waiters {
    places: Vec<Option<Waker>>,
    vacant: Vec<usize>,
}

impl Waiters {
    fn enter(&mut self, waker: Waker) -> usize {
        if let Some(place) = self.vacant.pop() {
            self.places[place] = Some(waker);
            return place;
        }
        self.places.push(Some(waker));
        self.places.len() - 1
    }

    fn leave(&mut self, place: usize) -> Option<Waker> {
        self.vacant.push(place);
        self.places[place].take()
    }
}

impl InFlight {
    pub(crate) fn new(reason: Reason, epoch: u64, began: Reading, attempts: u32) -> Arc<Self> {
        Arc::new(Self {
            reason,
            epoch,
            began,
            attempts,
            progress: Mutex::new(Progress::Running {
                waiters: Waiters::default(),
                task: None,
            }),
        })
    }

    /// Remembers the task that flies, so that it can be ended early. One whose refresh was given up
    /// before it was known here is ended at once.
    pub(crate) fn set_task(&self, handle: AbortHandle) {
        match &mut *self.lock() {
            Progress::Running { task, .. } => *task = Some(handle),
            Progress::Completed(_) => handle.abort(),
        }
    }

    pub(crate) fn has_completed(&self) -> bool {
        matches!(*self.lock(), Progress::Completed(_))
    }

    /// Ends the refresh and wakes all who wait. Only the first completion counts.
    ///
    /// It runs other people's wakers, so the caller holds no lock.
    pub(crate) fn complete(&self, completion: Completion) {
        let mut progress = self.lock();
        if matches!(*progress, Progress::Completed(_)) {
            return;
        }
        let in_flight = std::mem::replace(&mut *progress, Progress::Completed(completion));
        drop(progress);
        if let Progress::Running { waiters, .. } = in_flight {
            for waker in waiters.places.into_iter().flatten() {
                // One that panics does not keep the others from being woken; its panic was told by the
                // panic hook.
                let _told = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
        }
    }

    /// Ends the refresh without a result, and its task with it.
    pub(crate) fn give_up(&self) {
        let task = match &mut *self.lock() {
            Progress::Running { task, .. } => task.take(),
            Progress::Completed(_) => None,
        };
        self.complete(Completion::Abandoned);
        if let Some(task) = task {
            task.abort();
        }
    }

    /// The time that is left of `total` before whoever looks may replace this refresh.
    pub(crate) fn time_left(&self, now: Reading, total: Duration) -> Duration {
        total.saturating_sub(now.since(self.began))
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // Nothing panics while the lock is held.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("reason", &self.reason)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// Waits until a refresh has completed. Dropping it leaves the refresh as it is.
#[derive(Debug)]
pub(crate) struct Waiter {
    refresh: Arc<InFlight>,
    place: Option<usize>,
}

impl Waiter {
    pub(crate) fn new(refresh: Arc<InFlight>) -> Self {
        Self {
            refresh,
            place: None,
        }
    }
}

impl Future for Waiter {
    type Output = Completion;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Completion> {
        let this = &mut *self;
        // A waker's code, and that of the one that it replaces, runs outside the lock.
        let mut waker = cx.waker().clone();
        let mut progress = this.refresh.lock();
        let waiters = match &mut *progress {
            Progress::Completed(completion) => return Poll::Ready(completion.clone()),
            Progress::Running { waiters, .. } => waiters,
        };
        match this.place.and_then(|place| waiters.places[place].as_mut()) {
            Some(known) => std::mem::swap(known, &mut waker),
            None => {
                this.place = Some(waiters.enter(waker));
                return Poll::Pending;
            }
        }
        drop(progress);
        drop(waker);
        Poll::Pending
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let left = match (self.place, &mut *self.refresh.lock()) {
            (Some(place), Progress::Running { waiters, .. }) => waiters.leave(place),
            _ => None,
        };
        // A waker's drop is other people's code: it runs after the lock is gone.
        drop(left);
    }
}

#[cfg(test)]
#[cfg(not(tower_bearer_loom))]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[tokio::test]
    async fn a_task_that_is_known_too_late_is_ended_at_once() {
        let began = Reading::new(Duration::ZERO, UNIX_EPOCH);
        let refresh = InFlight::new(Reason::Initial, 0, began, 1);
        refresh.give_up();
        let task = tokio::spawn(std::future::pending::<()>());
        refresh.set_task(task.abort_handle());
        assert!(task.await.unwrap_err().is_cancelled());
    }
}
