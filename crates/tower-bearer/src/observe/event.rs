//! What happened and why: the reasons for a refresh, and the subscription to how each ended.

use std::{fmt, sync::OnceLock, time::Duration};

use tokio::sync::broadcast::{self, error::RecvError};

use crate::error::Error;

/// How many events wait for a slow subscriber before the oldest are dropped.
const BACKLOG: usize = 64;

/// Why a refresh was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// There was no token yet.
    Initial,
    /// The token was due: refreshed ahead of its expiry, while it was served.
    Ahead,
    /// The token had expired.
    Expired,
    /// The token was rejected.
    Rejected,
    /// Somebody called [`refresh`](crate::TokenCache::refresh).
    Forced,
    /// The source's secret had changed since the refresh before.
    SecretChanged,
}

impl Reason {
    pub(crate) const ALL: [Self; 6] = [
        Self::Initial,
        Self::Ahead,
        Self::Expired,
        Self::Rejected,
        Self::Forced,
        Self::SecretChanged,
    ];

    /// The reason as logs and metrics write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Ahead => "ahead",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Forced => "forced",
            Self::SecretChanged => "secret_changed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a refresh ended: what [`TokenCache::subscribe`](crate::TokenCache::subscribe) delivers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// Why it was begun.
    pub reason: Reason,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// How a refresh ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It brought a token.
    Refreshed {
        /// Its generation.
        generation: u64,
        /// The time until it may no longer be used.
        expires_in: Duration,
    },
    /// It failed.
    Failed(Error),
    /// It ended without a result: the secret changed meanwhile, or its runtime is gone.
    Abandoned,
}

impl Outcome {
    /// The outcome as logs and metrics write it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refreshed { .. } => "refreshed",
            Self::Failed(_) => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Delivers how each refresh ended, from the moment of subscribing on.
///
/// It takes what it is asked for, so one that is slow, or whose task has panicked, harms nobody: of
/// what waits for it the oldest is dropped once there are more than 64, and counted.
#[derive(Debug)]
pub struct Subscription {
    events: broadcast::Receiver<Event>,
    missed: u64,
}

impl Subscription {
    /// The next event; `None` once the last handle of the cache is gone.
    ///
    /// # Cancel safety
    ///
    /// No event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.events.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(dropped)) => self.missed += dropped,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// How many events were dropped because they were not taken in time.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

/// Those who have subscribed. There is no channel before the first.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(OnceLock<broadcast::Sender<Event>>);

impl Subscribers {
    pub(crate) fn subscribe(&self) -> Subscription {
        let sender = self.0.get_or_init(|| broadcast::channel(BACKLOG).0);
        Subscription {
            events: sender.subscribe(),
            missed: 0,
        }
    }

    pub(crate) fn tell(&self, event: Event) {
        if let Some(sender) = self.0.get() {
            // It fails if all have left, and then there is nobody to tell.
            let _listeners = sender.send(event);
        }
    }
}
