//! What a cache is doing, for probes and people.

use std::time::Duration;

use crate::error::Error;

use super::counts::Counts;

/// What a cache is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Idle, refreshing or backing off.
    pub phase: Phase,
    /// The current token's generation; `None` if there never was a token.
    pub generation: Option<u64>,
    /// Whether the current token was rejected and not yet replaced.
    pub rejected: bool,
    /// The time until the current token is due; zero if it is.
    pub due_in: Option<Duration>,
    /// The time until the current token is not usable any more; zero if it is not usable.
    pub expires_in: Option<Duration>,
    /// During backoff: the time until the next refresh may begin; none if only another secret helps.
    pub next_try_in: Option<Duration>,
    /// During backoff: why the last refresh failed.
    pub last_error: Option<Error>,
    /// What the cache has counted since it was made.
    pub counts: Counts,
}

/// What a cache does about refreshing at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// No refresh is in flight; one begins when somebody needs it.
    Idle,
    /// A refresh is in flight.
    Refreshing,
    /// The last refresh failed; the next may begin later.
    Backoff,
}
