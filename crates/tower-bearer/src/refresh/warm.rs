//! Keep-warm: a token that is refreshed even while nobody asks.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, task::AbortHandle};

use super::core::Core;

/// The longest sleep between two looks. A machine's sleep stops tokio's timers, so both clocks are
/// looked at this often.
const LONGEST: Duration = Duration::from_secs(30);

/// The shortest, so that clocks that disagree make no busy loop.
const SHORTEST: Duration = Duration::from_millis(100);

/// Whether a cache is kept warm, and by which task.
#[derive(Default)]
pub(crate) struct Warm {
    wanted: AtomicBool,
    /// It is false again once the task has ended, with its runtime, say. Then the next caller hosts it
    /// anew.
    hosted: Arc<AtomicBool>,
    task: Mutex<Option<AbortHandle>>,
}

impl Warm {
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::Release);
    }

    /// Whether a task is missing that should be there.
    pub(crate) fn needs_host(&self) -> bool {
        self.wanted.load(Ordering::Acquire) && !self.hosted.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) {
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            task.abort();
        }
    }
}

impl fmt::Debug for Warm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warm")
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

/// Starts the task on the caller's runtime, unless there is one; outside a runtime the next caller does.
pub(crate) fn host(core: &Arc<Core>) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    if core.warm.hosted.swap(true, Ordering::AcqRel) {
        return;
    }
    let guard = Hosted(core.warm.hosted.clone());
    let task = runtime.spawn(keep(guard, Arc::downgrade(core)));
    let mut hosted = core
        .warm
        .task
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    *hosted = Some(task.abort_handle());
}

/// Says that nobody hosts any more, however the task ends.
struct Hosted(Arc<AtomicBool>);

impl Drop for Hosted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

async fn keep(_guard: Hosted, core: Weak<Core>) {
    while let Some(core) = core.upgrade() {
        let next = core.refresh_if_needed().clamp(SHORTEST, LONGEST);
        let Ok(sleep) = core.sleep(next) else {
            return;
        };
        // Between two looks nothing here keeps the cache alive.
        drop(core);
        sleep.await;
    }
}
