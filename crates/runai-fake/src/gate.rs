//! A request that waits until the test lets it go.

use std::sync::Arc;

use tokio::sync::watch;

use crate::behaviour::Behaviour;

/// Holds the request that reaches it until it is released, so that a test needs no sleep to have
/// things happen meanwhile. Dropping it releases.
#[derive(Debug)]
pub struct Gate {
    reached: watch::Receiver<usize>,
    release: watch::Sender<Option<Behaviour>>,
}

/// The server's side. It may be shared by several queued requests.
#[derive(Clone, Debug)]
pub(crate) struct Barrier {
    reached: Arc<watch::Sender<usize>>,
    released: watch::Receiver<Option<Behaviour>>,
}

pub(crate) fn gate() -> (Gate, Barrier) {
    let (reached_sender, reached) = watch::channel(0);
    let (release, released) = watch::channel(None);
    let barrier = Barrier {
        reached: Arc::new(reached_sender),
        released,
    };
    (Gate { reached, release }, barrier)
}

impl Gate {
    /// Waits until a request is held here.
    pub async fn reached(&self) {
        self.reached_by(1).await;
    }

    /// Waits until so many requests are held here.
    pub async fn reached_by(&self, requests: usize) {
        // It fails only if no request can come any more, and then there is nothing to wait for.
        let mut held = self.reached.clone();
        while *held.borrow_and_update() < requests {
            // No request can come any more, so there is nothing to wait for.
            if held.changed().await.is_err() {
                return;
            }
        }
    }

    /// Lets the request go on as usual.
    pub fn release(self) {
        self.release_with(Behaviour::normal());
    }

    /// Lets the request go on, to be answered like this.
    pub fn release_with(self, behaviour: Behaviour) {
        self.release.send_replace(Some(behaviour));
    }
}

impl Barrier {
    pub(crate) async fn pass(mut self) -> Behaviour {
        self.reached.send_modify(|held| *held += 1);
        match self.released.wait_for(Option::is_some).await {
            Ok(behaviour) => behaviour.clone().unwrap_or_default(),
            Err(_) => Behaviour::normal(),
        }
    }
}
