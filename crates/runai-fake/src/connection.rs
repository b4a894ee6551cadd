//! A handle to one TCP connection, with which a behaviour can break it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::flush_counter::FlushCounter;

/// A handle to a connection. Clones refer to the same connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    id: u64,
    ending: Arc<watch::Sender<Option<Ending>>>,
    flushes: FlushCounter,
}

/// How a behaviour ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With RST: the client sees a broken connection.
    Reset,
    /// With FIN: the client sees the end of the stream.
    Close,
}

impl Connection {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            ending: Arc::new(watch::channel(None).0),
            flushes: FlushCounter::default(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn flushes(&self) -> &FlushCounter {
        &self.flushes
    }

    pub(crate) fn end(&self, ending: Ending) {
        self.ending.send_replace(Some(ending));
    }

    /// Waits until [`end`](Self::end) is called.
    pub(crate) async fn ending(&self) -> Option<Ending> {
        let mut ending = self.ending.subscribe();
        // It fails only without a sender, and `self` holds one.
        let ending = ending.wait_for(Option::is_some).await;
        ending.ok().and_then(|ending| *ending)
    }
}
