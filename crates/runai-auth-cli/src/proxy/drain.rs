//! How the proxy comes to its end: told, and then when nothing is live any more.

use std::{convert::Infallible, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{info, warn};

/// Whether the proxy is stopping. Clones are about the same proxy.
#[derive(Clone, Debug)]
pub(crate) struct Stopping {
    /// The grace, once the proxy is stopping.
    on: watch::Sender<Option<Duration>>,
    live: mpsc::WeakSender<Infallible>,
}

/// Held by what must end before the proxy does.
#[derive(Debug)]
pub(crate) struct Live {
    _held: Option<mpsc::Sender<Infallible>>,
}

/// The end, to wait for.
#[derive(Debug)]
pub(crate) struct Ending {
    stopping: Stopping,
    live: mpsc::Sender<Infallible>,
    ended: mpsc::Receiver<Infallible>,
}

pub(crate) fn ending() -> Ending {
    let (live, ended) = mpsc::channel(1);
    let stopping = Stopping {
        on: watch::Sender::new(None),
        live: live.downgrade(),
    };
    Ending {
        stopping,
        live,
        ended,
    }
}

impl Stopping {
    pub(crate) fn is_on(&self) -> bool {
        self.on.borrow().is_some()
    }

    /// Something that must end before the proxy does.
    pub(crate) fn live(&self) -> Live {
        Live {
            _held: self.live.upgrade(),
        }
    }

    /// Waits until the proxy is stopping, and answers with its grace.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    pub(crate) async fn told(&self) -> Duration {
        let mut on = self.on.subscribe();
        let told = on.wait_for(Option::is_some).await;
        // It does not fail, since the sender is here.
        told.ok().and_then(|grace| *grace).unwrap_or_default()
    }
}

impl Ending {
    pub(crate) fn stopping(&self) -> Stopping {
        self.stopping.clone()
    }

    /// Tells all to stop, and waits until they have, or the grace is over.
    pub(crate) async fn stop(self, grace: Duration) {
        let Self {
            stopping,
            live,
            mut ended,
        } = self;
        stopping.on.send_replace(Some(grace));
        drop(live);
        match timeout(grace, ended.recv()).await {
            Ok(_) => info!("all requests are finished"),
            Err(_) => warn!("the grace is over: requests in flight are cut off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ends_with_the_last_that_is_live() {
        let ending = ending();
        let stopping = ending.stopping();
        let live = stopping.live();
        let waiting = tokio::spawn(ending.stop(Duration::from_secs(60)));
        assert_eq!(stopping.told().await, Duration::from_secs(60));
        assert!(!waiting.is_finished());
        drop(live);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn the_grace_ends_too() {
        let ending = ending();
        let _live = ending.stopping().live();
        ending.stop(Duration::ZERO).await;
    }
}
