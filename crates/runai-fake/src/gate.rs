//! Gates: a request waits until the test lets it continue.

use std::sync::Arc;

use tokio::sync::watch;

use crate::behaviour::Behaviour;

/// Holds requests until the test releases them, so that a test can act meanwhile without a sleep.
///
/// [`RunaiFake::hold_token`](crate::RunaiFake::hold_token) and its siblings return one. Dropping a gate
/// releases it.
///
/// ```
/// use runai_fake::{Behaviour, RunaiFake};
///
/// async fn change_the_secret_during_a_token_request(fake: &RunaiFake) {
///     let gate = fake.hold_token();
///     // Let your program ask for a token here.
///     gate.reached().await;
///     assert!(fake.rotate_secret("ci-bot", "new"));
///     gate.release_with(Behaviour::status(503));
/// }
/// ```
#[derive(Debug)]
pub struct Gate {
    held: watch::Receiver<usize>,
    release: watch::Sender<Option<Behaviour>>,
}

/// The server's side of a gate. Several queued requests can share it.
#[derive(Clone, Debug)]
pub(crate) struct Barrier {
    held: Arc<watch::Sender<usize>>,
    released: watch::Receiver<Option<Behaviour>>,
}

pub(crate) fn gate() -> (Gate, Barrier) {
    let (held_sender, held) = watch::channel(0);
    let (release, released) = watch::channel(None);
    let barrier = Barrier {
        held: Arc::new(held_sender),
        released,
    };
    (Gate { held, release }, barrier)
}

impl Gate {
    /// Waits until a request is held here.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing; call it again to go on waiting.
    pub async fn reached(&self) {
        self.reached_by(1).await;
    }

    /// Waits until this many requests are held here. Returns early if fewer can still come.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing; call it again to go on waiting.
    pub async fn reached_by(&self, requests: usize) {
        let mut held = self.held.clone();
        while *held.borrow_and_update() < requests {
            // All barriers are gone, so no other request can be held.
            if held.changed().await.is_err() {
                return;
            }
        }
    }

    /// Lets the held requests continue to their usual answers.
    pub fn release(self) {
        self.release_with(Behaviour::normal());
    }

    /// Lets the held requests continue, and answers them with this behaviour.
    pub fn release_with(self, behaviour: Behaviour) {
        self.release.send_replace(Some(behaviour));
    }
}

impl Barrier {
    /// Waits for the release, and returns the behaviour to answer with.
    pub(crate) async fn pass(mut self) -> Behaviour {
        self.held.send_modify(|held| *held += 1);
        match self.released.wait_for(Option::is_some).await {
            Ok(behaviour) => behaviour.clone().unwrap_or_default(),
            // The gate was dropped.
            Err(_) => Behaviour::normal(),
        }
    }
}
