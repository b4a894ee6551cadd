//! What happened and why: the reasons for a refresh, and the subscription to how each ended.

use std::{fmt, sync::OnceLock, time::Duration};

use tokio::sync::broadcast::{self, error::RecvError};

use crate::error::Error;

/// How many events wait for a slow subscriber before the oldest are dropped.
const BACKLOG: usize = 64;

/// Why a refresh began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// There was no token yet.
    Initial,
    /// The token was due: it is refreshed ahead of its expiry, while it is still served.
    Ahead,
    /// The token had expired.
    Expired,
    /// The token was rejected.
    Rejected,
    /// Somebody called [`refresh`](crate::TokenCache::refresh).
    Forced,
    /// The source's secret had changed since the last refresh.
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

    /// Returns the reason as logs and metrics write it.
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
    /// Why it began.
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
        /// The time until it is not usable any more.
        expires_in: Duration,
    },
    /// It failed.
    Failed(Error),
    /// The source gave the current token again, which is still the one to use.
    Unchanged,
    /// It ended without a result: the secret changed meanwhile, or its runtime ended.
    Abandoned,
}

impl Outcome {
    /// Returns the outcome as logs and metrics write it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refreshed { .. } => "refreshed",
            Self::Failed(_) => "failed",
            Self::Unchanged => "unchanged",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Delivers how each refresh ended, from the moment of subscribing on.
///
/// A subscriber that is slow, or whose task has panicked, harms nobody: at most 64 events wait for it.
/// Beyond that the oldest is dropped, and [`missed`](Self::missed) counts it.
#[derive(Debug)]
pub struct Subscription {
    events: broadcast::Receiver<Event>,
    missed: u64,
}

impl Subscription {
    /// Returns the next event, or `None` once the last handle of the cache is gone.
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

    /// Returns how many events were dropped because they were not taken in time.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

/// Those who have subscribed. The first makes the channel.
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

    pub(crate) fn send(&self, event: Event) {
        if let Some(sender) = self.0.get() {
            // It fails only if all subscribers have left.
            let _subscribers = sender.send(event);
        }
    }
}
