//! What a cache is doing, for probes and people.

use std::time::Duration;

use super::telemetry::Counts;
use crate::error::Error;

/// What a cache is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Idle, refreshing or backoff.
    pub phase: Phase,
    /// The current token's generation; `None` if there never was a token.
    pub generation: Option<u64>,
    /// Whether the current token was rejected and not yet replaced.
    pub rejected: bool,
    /// The time until the current token is due; zero if it is.
    pub due_in: Option<Duration>,
    /// The time until the current token may no longer be used; zero if it may not.
    pub expires_in: Option<Duration>,
    /// The time until a refresh may begin again, while backoff; none if only another secret helps.
    pub next_try_in: Option<Duration>,
    /// Why the last refresh failed, while backoff.
    pub last_error: Option<Error>,
    /// What was counted since the cache was made.
    pub counts: Counts,
}

/// What a cache does about refresh at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// No refresh is under way; one begins when somebody needs it.
    Idle,
    /// A refresh is under way.
    Refreshing,
    /// The last refresh failed; the next may begin later.
    Backoff,
}
