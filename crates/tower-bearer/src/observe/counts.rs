//! What a cache counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::event::Reason;

/// What a cache and the layers made from it have counted since the cache was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Calls to the source, including failed ones.
    pub fetches: u64,
    /// Refreshes that failed.
    pub failed_refreshes: u64,
    /// Refreshes that brought a token, by reason.
    pub refreshes: Refreshes,
    /// Tokens whose lifetime was not known, so the default was used.
    pub unknown_lifetimes: u64,
    /// Times that a due token was served.
    pub served_due: u64,
    /// Tokens that were rejected, each counted once.
    pub rejections: u64,
    /// Requests that were sent again after a rejection.
    pub retries: u64,
    /// Requests whose token was rejected and that could not be sent again.
    pub replays_refused: u64,
    /// Requests that had to wait for a token.
    pub waits: u64,
}

/// Refreshes that brought a token, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshes([u64; Reason::ALL.len()]);

impl Refreshes {
    /// Returns how many began for `reason`.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// Returns how many there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// The counters behind [`Counts`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) fetches: Counter,
    pub(super) failed_refreshes: Counter,
    refreshes: [Counter; Reason::ALL.len()],
    pub(super) unknown_lifetimes: Counter,
    pub(super) served_due: Counter,
    pub(super) rejections: Counter,
    pub(super) retries: Counter,
    pub(super) replays_refused: Counter,
    pub(super) waits: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    pub(super) fn refreshes(&self, reason: Reason) -> &Counter {
        &self.refreshes[reason as usize]
    }

    pub(super) fn read(&self) -> Counts {
        Counts {
            fetches: self.fetches.get(),
            failed_refreshes: self.failed_refreshes.get(),
            refreshes: Refreshes(Reason::ALL.map(|reason| self.refreshes(reason).get())),
            unknown_lifetimes: self.unknown_lifetimes.get(),
            served_due: self.served_due.get(),
            rejections: self.rejections.get(),
            retries: self.retries.get(),
            replays_refused: self.replays_refused.get(),
            waits: self.waits.get(),
        }
    }
}
