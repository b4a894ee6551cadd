//! What a cache counts, logs and measures. All that is told to operators is told here.
//!
//! With the feature `metrics` each count goes to the `metrics` facade too; docs/observability.md lists
//! names, labels and units.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    auth::NotReplayable,
    clock::Reading,
    refresh::{Completion, InFlight},
};

use super::event::{Event, Outcome, Reason, Subscribers, Subscription};

/// What a cache and the layers made from it have counted since the cache was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Calls to the source, failed ones included.
    pub fetches: u64,
    /// Refreshes that failed.
    pub failed_refreshes: u64,
    /// Refreshes that brought a token, by reason.
    pub refreshes: Refreshes,
    /// Tokens whose lifetime was not known, so that the default was taken.
    pub unknown_lifetimes: u64,
    /// Times that a due token was served.
    pub served_due: u64,
    /// Tokens that were rejected, each counted once.
    pub rejections: u64,
    /// Requests that were sent again after a rejection.
    pub retries: u64,
    /// Requests whose token was rejected and whose body could not be sent again.
    pub replays_refused: u64,
    /// Requests that had to wait for a token.
    pub waits: u64,
}

/// Refreshes that brought a token, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshes([u64; Reason::ALL.len()]);

impl Refreshes {
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

/// Counts, logs, measures and tells the subscribers.
#[derive(Debug)]
pub(crate) struct Telemetry {
    /// What tells this cache from another in logs and metrics.
    name: Cow<'static, str>,
    subscribers: Subscribers,
    fetches: AtomicU64,
    failed_refreshes: AtomicU64,
    refreshes: [AtomicU64; Reason::ALL.len()],
    unknown_lifetimes: AtomicU64,
    served_due: AtomicU64,
    rejections: AtomicU64,
    retries: AtomicU64,
    replays_refused: AtomicU64,
    waits: AtomicU64,
}

/// Adds one to a counter of the `metrics` facade, where the feature is on.
macro_rules! count {
    ($name:literal, $telemetry:expr $(, $label:literal => $value:expr)*) => {{
        #[cfg(feature = "metrics")]
        metrics::counter!($name, "cache" => $telemetry.name.clone() $(, $label => $value)*).increment(1);
        #[cfg(not(feature = "metrics"))]
        let _unmeasured = ($($value,)*);
    }};
}

impl Telemetry {
    pub(crate) fn new(name: Cow<'static, str>) -> Self {
        Self {
            name,
            subscribers: Subscribers::default(),
            fetches: AtomicU64::default(),
            failed_refreshes: AtomicU64::default(),
            refreshes: Default::default(),
            unknown_lifetimes: AtomicU64::default(),
            served_due: AtomicU64::default(),
            rejections: AtomicU64::default(),
            retries: AtomicU64::default(),
            replays_refused: AtomicU64::default(),
            waits: AtomicU64::default(),
        }
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        self.subscribers.subscribe()
    }

    /// The span of a refresh. It has no parent: a refresh belongs to no caller.
    pub(crate) fn span(&self, refresh: &InFlight) -> tracing::Span {
        tracing::info_span!(
            parent: None,
            "token_refresh",
            cache = &*self.name,
            reason = refresh.reason.as_str(),
        )
    }

    pub(crate) fn fetching(&self, refresh: &InFlight, attempt: u32) {
        self.fetches.fetch_add(1, Relaxed);
        count!("tower_bearer_fetches_total", self, "reason" => refresh.reason.as_str());
        tracing::debug!(attempt, "asking the source");
    }

    pub(crate) fn served_due(&self) {
        self.served_due.fetch_add(1, Relaxed);
        count!("tower_bearer_served_due_total", self);
    }

    pub(crate) fn waiting(&self) {
        self.waits.fetch_add(1, Relaxed);
        count!("tower_bearer_waits_total", self);
    }

    pub(crate) fn rejected(&self, generation: u64) {
        self.rejections.fetch_add(1, Relaxed);
        count!("tower_bearer_rejections_total", self);
        tracing::info!(cache = &*self.name, generation, "token rejected");
    }

    pub(crate) fn retrying(&self) {
        self.retries.fetch_add(1, Relaxed);
        count!("tower_bearer_retries_total", self);
    }

    pub(crate) fn replay_refused(&self, why: NotReplayable) {
        self.replays_refused.fetch_add(1, Relaxed);
        count!("tower_bearer_replays_refused_total", self, "why" => why.as_str());
        tracing::debug!(
            cache = &*self.name,
            why = why.as_str(),
            "request not sent again"
        );
    }

    /// A refresh has ended. It is called under no lock, since a log's or a metric's recorder is other
    /// people's code.
    /// `alive` says whether there is a token now that could be sent.
    pub(crate) fn completed(
        &self,
        refresh: &InFlight,
        completion: &Completion,
        now: Reading,
        alive: bool,
    ) {
        let took = now.since(refresh.began);
        let reason = refresh.reason.as_str();
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let cache = &*self.name;
        let outcome = match completion {
            Completion::Token(entry) => {
                let expires_in = now.until(entry.schedule.usable_until);
                let generation = entry.generation();
                if entry.token.stated_lifetime() == (None, None) {
                    self.unknown_lifetimes.fetch_add(1, Relaxed);
                    count!("tower_bearer_unknown_lifetimes_total", self);
                }
                self.refreshes[refresh.reason as usize].fetch_add(1, Relaxed);
                let expires_in_s = expires_in.as_secs();
                tracing::info!(
                    cache,
                    reason,
                    took_ms,
                    generation,
                    expires_in_s,
                    "token refreshed"
                );
                Outcome::Refreshed {
                    generation,
                    expires_in,
                }
            }
            Completion::Failed(error) => {
                self.failed_refreshes.fetch_add(1, Relaxed);
                let error_ref = error as &(dyn std::error::Error + 'static);
                tracing::warn!(cache, reason, took_ms, error = error_ref, "no token");
                Outcome::Failed(error.clone())
            }
            Completion::Abandoned => {
                tracing::debug!(cache, reason, took_ms, "refresh abandoned");
                Outcome::Abandoned
            }
        };
        count!("tower_bearer_refreshes_total", self, "reason" => reason, "outcome" => outcome.as_str());
        #[cfg(feature = "metrics")]
        self.measure(completion, took, alive);
        #[cfg(not(feature = "metrics"))]
        let _unmeasured = alive;
        self.subscribers.tell(Event {
            reason: refresh.reason,
            outcome,
            took,
        });
    }

    #[cfg(feature = "metrics")]
    fn measure(&self, completion: &Completion, took: std::time::Duration, alive: bool) {
        let name = || self.name.clone();
        metrics::histogram!("tower_bearer_refresh_duration_seconds", "cache" => name())
            .record(took);
        let authenticated = if alive { 1.0 } else { 0.0 };
        metrics::gauge!("tower_bearer_authenticated", "cache" => name()).set(authenticated);
        if let Completion::Token(entry) = completion {
            let expiry = entry.schedule.usable_until.unix_seconds();
            metrics::gauge!("tower_bearer_token_expiry_timestamp_seconds", "cache" => name())
                .set(expiry);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        Counts {
            fetches: of(&self.fetches),
            failed_refreshes: of(&self.failed_refreshes),
            refreshes: Refreshes(Reason::ALL.map(|reason| of(&self.refreshes[reason as usize]))),
            unknown_lifetimes: of(&self.unknown_lifetimes),
            served_due: of(&self.served_due),
            rejections: of(&self.rejections),
            retries: of(&self.retries),
            replays_refused: of(&self.replays_refused),
            waits: of(&self.waits),
        }
    }
}
