//! What a cache is doing, for probes and people.

use std::time::Duration;

use crate::{error::Error, telemetry::Counts};

/// What a cache is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Idle, flying or cooling.
    pub phase: Phase,
    /// The current token's generation; `None` if there never was a token.
    pub generation: Option<u64>,
    /// Whether the current token was rejected and not yet replaced.
    pub suspect: bool,
    /// The time until the current token is due; zero if it is.
    pub renews_in: Option<Duration>,
    /// The time until the current token may no longer be used; zero if it may not.
    pub expires_in: Option<Duration>,
    /// The time until a flight may begin again, while cooling; none if only another secret helps.
    pub next_try_in: Option<Duration>,
    /// Why the last flight failed, while cooling.
    pub last_error: Option<Error>,
    /// What was counted since the cache was made.
    pub counts: Counts,
}

/// What a cache does about renewal at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// No flight is under way; one begins when somebody needs it.
    Idle,
    /// A flight is under way.
    Flying,
    /// The last flight failed; the next may begin later.
    Cooling,
}
