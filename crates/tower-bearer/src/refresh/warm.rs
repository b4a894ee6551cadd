//! Keep-warm: one task that looks at the token even while nobody asks.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, task::AbortHandle};

use crate::clock::Sleep;

/// The longest sleep between two looks. tokio's timers stop while a machine is suspended, so both clocks
/// are read this often.
const LONGEST: Duration = Duration::from_secs(30);

/// The shortest sleep, so that two clocks that disagree do not make a busy loop.
const SHORTEST: Duration = Duration::from_millis(100);

/// Whether a cache is kept warm, and by which task.
#[derive(Default)]
pub(crate) struct Warm {
    wanted: AtomicBool,
    /// Whether the task lives. When it has ended, with its runtime for example, the next caller hosts
    /// another.
    hosted: Arc<AtomicBool>,
    task: Mutex<Option<AbortHandle>>,
}

impl Warm {
    pub(super) fn want(&self) {
        self.wanted.store(true, Ordering::Release);
    }

    /// Whether a task is missing that should be there.
    pub(super) fn needs_host(&self) -> bool {
        self.wanted.load(Ordering::Acquire) && !self.hosted.load(Ordering::Acquire)
    }

    /// Starts the task on the caller's runtime, unless it lives already. Outside a runtime nothing happens,
    /// and the next caller tries.
    ///
    /// `look` looks once and returns the sleep until the next look, or `None` to end the task.
    pub(super) fn host(&self, look: impl FnMut() -> Option<Sleep> + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.hosted.swap(true, Ordering::AcqRel) {
            return;
        }
        let guard = Hosted(self.hosted.clone());
        let task = runtime.spawn(keep(guard, look));
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
    }

    pub(super) fn end(&self) {
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

/// How long to sleep where the next look is worth it after `wait`.
pub(super) fn pause(wait: Duration) -> Duration {
    wait.clamp(SHORTEST, LONGEST)
}

/// Notes that the task has ended, however it ends.
struct Hosted(Arc<AtomicBool>);

impl Drop for Hosted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

async fn keep(_guard: Hosted, mut look: impl FnMut() -> Option<Sleep>) {
    while let Some(sleep) = look() {
        sleep.await;
    }
}
