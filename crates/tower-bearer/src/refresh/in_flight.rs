//! One refresh as its waiters see it: a shared handle that completes once.

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::task::AbortHandle;

use crate::{clock::Reading, observe::Reason};

use super::wait_list::{Completion, WaitList};

/// One refresh: one or more attempts at the source, shared by all who wait for its token.
pub(crate) struct InFlight {
    pub(crate) reason: Reason,
    /// The source's epoch when it began.
    pub(super) epoch: u64,
    pub(super) began: Reading,
    /// How many attempts it has.
    pub(super) attempts: u32,
    /// It began for a target's complaint of its own: the current token is good for others.
    pub(super) is_complaint: bool,
    progress: Mutex<Progress>,
}

/// Who waits, and the task that works on it.
#[derive(Default)]
struct Progress {
    waiting: WaitList,
    task: Option<AbortHandle>,
}

impl InFlight {
    pub(super) fn new(
        reason: Reason,
        epoch: u64,
        began: Reading,
        attempts: u32,
        is_complaint: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            reason,
            epoch,
            began,
            attempts,
            is_complaint,
            progress: Mutex::default(),
        })
    }

    /// Remembers the task, so that it can be ended early. If the refresh was given up before, the task
    /// ends at once.
    pub(super) fn set_task(&self, task: AbortHandle) {
        let mut progress = self.lock();
        if !progress.waiting.has_completed() {
            progress.task = Some(task);
            return;
        }
        drop(progress);
        task.abort();
    }

    pub(super) fn has_completed(&self) -> bool {
        self.lock().waiting.has_completed()
    }

    /// Ends the refresh and wakes all who wait. Only the first completion counts.
    ///
    /// It runs wakers, which are foreign code, so the caller holds no lock.
    pub(super) fn complete(&self, completion: Completion) {
        let wakers = self.lock().waiting.complete(completion);
        for waker in wakers {
            // One that panics must not keep the others from being woken; the panic hook has reported it.
            let _reported = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    /// Ends the refresh without a result, and its task with it.
    pub(super) fn give_up(&self) {
        self.end(Completion::Abandoned);
    }

    /// Ends the refresh like this, and its task with it.
    pub(super) fn end(&self, completion: Completion) {
        let task = self.lock().task.take();
        self.complete(completion);
        if let Some(task) = task {
            task.abort();
        }
    }

    /// The time that is left of `total` before whoever looks may replace this refresh.
    pub(super) fn time_left(&self, now: Reading, total: Duration) -> Duration {
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
pub(super) struct Waiter {
    refresh: Arc<InFlight>,
    place: Option<usize>,
}

impl Waiter {
    pub(super) fn new(refresh: Arc<InFlight>) -> Self {
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
        // It is cloned before the lock is taken and dropped after: both are foreign code.
        let mut waker = Some(cx.waker().clone());
        let completion = this
            .refresh
            .lock()
            .waiting
            .poll(&mut this.place, &mut waker);
        completion.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let left = self
            .place
            .and_then(|place| self.refresh.lock().waiting.leave(place));
        // A waker's drop is foreign code, so it runs after the lock is gone.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[tokio::test]
    async fn a_task_that_is_known_too_late_ends_at_once() {
        let began = Reading::new(Duration::ZERO, UNIX_EPOCH);
        let refresh = InFlight::new(Reason::Initial, 0, began, 1, false);
        refresh.give_up();
        let task = tokio::spawn(std::future::pending::<()>());
        refresh.set_task(task.abort_handle());
        assert!(task.await.unwrap_err().is_cancelled());
    }
}
