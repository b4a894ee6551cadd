//! What happened and why: the reasons for a flight, and what a cache counts.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    clock::Reading,
    flight::{Flight, Landing},
};

/// Tells the log how a flight ended.
pub(crate) fn landed(flight: &Flight, landing: &Landing, now: Reading) {
    let reason = flight.reason.as_str();
    let took_ms = u64::try_from(now.since(flight.began).as_millis()).unwrap_or(u64::MAX);
    match landing {
        Landing::Token(entry) => tracing::info!(
            reason,
            took_ms,
            generation = entry.generation(),
            expires_in_s = now.until(entry.schedule.hard_expiry).as_secs(),
            "token renewed"
        ),
        Landing::Failed(error) => tracing::warn!(
            reason,
            took_ms,
            error = error as &(dyn std::error::Error + 'static),
            "no token"
        ),
        Landing::Void => tracing::debug!(reason, took_ms, "flight given up"),
    }
}

/// Why a flight was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// There was no token yet.
    Initial,
    /// The token was due: renewed ahead of its expiry, while it was served.
    Ahead,
    /// The token had expired.
    Expired,
    /// The token was rejected.
    Rejected,
    /// Somebody called [`refresh`](crate::TokenCache::refresh).
    Forced,
    /// The source's secret had changed since the flight before.
    SecretChanged,
}

impl Reason {
    const ALL: [Self; 6] = [
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

/// What a cache and the layers made from it have counted since the cache was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Calls to the source, failed ones included.
    pub fetches: u64,
    /// Flights that failed.
    pub failed_flights: u64,
    /// Flights that brought a token, by reason.
    pub renewals: Renewals,
    /// Tokens that were rejected, each counted once.
    pub rejections: u64,
    /// Requests that were sent again after a rejection.
    pub retries: u64,
    /// Requests that had to wait for a token.
    pub waits: u64,
}

/// Flights that brought a token, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewals([u64; Reason::ALL.len()]);

impl Renewals {
    /// How many were begun for `reason`.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// How many there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// The counters behind [`Counts`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) fetches: AtomicU64,
    pub(crate) failed_flights: AtomicU64,
    pub(crate) rejections: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) waits: AtomicU64,
    renewals: [AtomicU64; Reason::ALL.len()],
}

impl Counters {
    pub(crate) fn renewed(&self, reason: Reason) {
        self.renewals[reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Counts {
        Counts {
            fetches: self.fetches.load(Relaxed),
            failed_flights: self.failed_flights.load(Relaxed),
            renewals: Renewals(
                Reason::ALL.map(|reason| self.renewals[reason as usize].load(Relaxed)),
            ),
            rejections: self.rejections.load(Relaxed),
            retries: self.retries.load(Relaxed),
            waits: self.waits.load(Relaxed),
        }
    }
}
