//! Graceful shutdown: stop accepting, then wait until no connection is left.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

/// Tells whether the proxy is stopping, and runs what must end before it does. Clones belong to the same proxy.
#[derive(Clone, Debug)]
pub(crate) struct Stopping {
    begun: CancellationToken,
    tasks: TaskTracker,
    grace: Duration,
}

impl Stopping {
    /// Makes one for a proxy that finishes requests for at most `grace`.
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            begun: CancellationToken::new(),
            tasks: TaskTracker::new(),
            grace,
        }
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    pub(crate) fn grace(&self) -> Duration {
        self.grace
    }

    /// Waits until the proxy is stopping.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Spawns a task that must end before the proxy does.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Begins to stop, and waits until every task has ended or the grace is over.
    pub(crate) async fn stop(&self) {
        self.begun.cancel();
        self.tasks.close();
        match timeout(self.grace, self.tasks.wait()).await {
            Ok(()) => info!("all requests are finished"),
            Err(_) => warn!("the grace is over: requests in flight are cut off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn it_ends_with_the_last_task() {
        let stopping = Stopping::new(Duration::from_secs(60));
        let (finish, finished) = oneshot::channel::<()>();
        stopping.spawn(async {
            finished.await.unwrap();
        });
        let waiting = tokio::spawn({
            let stopping = stopping.clone();
            async move { stopping.stop().await }
        });
        stopping.begun().await;
        assert!(stopping.has_begun() && !waiting.is_finished());
        finish.send(()).unwrap();
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn it_ends_with_the_grace() {
        let stopping = Stopping::new(Duration::ZERO);
        stopping.spawn(std::future::pending());
        stopping.stop().await;
    }
}
