//! What can be set on a cache.

use std::time::Duration;

use super::{lifetime::Policy, limit::Limits};

/// A refresh on a runtime that is driven completes within its time-out. One that is older than this on
/// top of it sits on a parked runtime, so whoever looks next replaces it (A14).
const PARKED_GRACE: Duration = Duration::from_secs(1);

/// The settings of one cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) lifetime: Policy,
    pub(crate) attempts: u32,
    pub(crate) attempt_timeout: Duration,
    pub(crate) refresh_timeout: Duration,
    pub(crate) limits: Limits,
}

impl Settings {
    /// The age at which a refresh counts as lost.
    pub(super) fn lost_after(&self) -> Duration {
        self.refresh_timeout.saturating_add(PARKED_GRACE)
    }
}
