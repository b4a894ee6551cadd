//! The log events, metrics and counts of a cache. Everything for operators is emitted here, from plain
//! values.
//!
//! With the feature `metrics` each count goes to the `metrics` facade too; docs/observability.md lists
//! names, labels and units.

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use crate::{clock::Reading, error::Error};

use super::{
    counts::{Counters, Counts},
    event::{Event, Outcome, Reason, Subscribers, Subscription},
};

/// How a refresh ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) reason: Reason,
    pub(crate) began: Reading,
    pub(crate) now: Reading,
    /// Whether there is a token now that could be sent.
    pub(crate) authenticated: bool,
    pub(crate) ending: Ending,
}

/// What a refresh ended with.
#[derive(Debug)]
pub(crate) enum Ending {
    Refreshed {
        generation: u64,
        usable_until: Reading,
        /// Whether the source stated the lifetime.
        lifetime_known: bool,
    },
    Failed {
        error: Error,
        /// The current token, if it is still usable.
        usable: Option<Usable>,
    },
    /// The source gave the current token again.
    Unchanged {
        error: Error,
        /// The current token, if it is still usable.
        usable: Option<Usable>,
    },
    Abandoned,
}

/// What is left of a usable token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usable {
    pub(crate) remaining: Duration,
    /// At most a third is left of the time in which it is due and usable.
    pub(crate) near_its_end: bool,
}

/// Counts, logs, measures, and notifies the subscribers.
#[derive(Debug)]
pub(crate) struct Telemetry {
    /// Tells this cache from another in logs and metrics.
    name: Cow<'static, str>,
    subscribers: Subscribers,
    counters: Counters,
}

/// Runs what emits logs and metrics. Their recorders are foreign code; one that panics must not harm a caller
/// or a refresh, nor abort the process in an unwind. The panic hook has reported it.
fn guarded<R>(emit: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(emit)).ok()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
            counters: Counters::default(),
        }
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        self.subscribers.subscribe()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// Returns the span of a refresh. It has no parent: a refresh belongs to no caller.
    pub(crate) fn span(&self, reason: Reason) -> tracing::Span {
        let span = || {
            tracing::info_span!(
                parent: None,
                "token_refresh",
                cache = &*self.name,
                reason = reason.as_str(),
            )
        };
        guarded(span).unwrap_or_else(tracing::Span::none)
    }

    pub(crate) fn fetching(&self, reason: Reason, attempt: u32) {
        self.counters.fetches.add_one();
        guarded(|| {
            count!("tower_bearer_fetches_total", self, "reason" => reason.as_str());
            tracing::debug!(attempt, "calling the token source");
        });
    }

    pub(crate) fn attempt_failed(&self, attempt: u32, wait: Duration) {
        let wait_ms = millis(wait);
        guarded(|| tracing::debug!(attempt, wait_ms, "attempt failed"));
    }

    pub(crate) fn served_due(&self) {
        self.counters.served_due.add_one();
        guarded(|| count!("tower_bearer_served_due_total", self));
    }

    pub(crate) fn waiting(&self) {
        self.counters.waits.add_one();
        guarded(|| count!("tower_bearer_waits_total", self));
    }

    pub(crate) fn rejected(&self, generation: u64) {
        self.counters.rejections.add_one();
        guarded(|| {
            count!("tower_bearer_rejections_total", self);
            tracing::info!(cache = &*self.name, generation, "token rejected");
        });
    }

    /// Others accept what this target rejects, so it is nothing that disturbs anybody.
    pub(crate) fn complained(&self, generation: u64) {
        guarded(|| {
            tracing::debug!(
                cache = &*self.name,
                generation,
                "token rejected by a target that rejects what others accept"
            );
        });
    }

    pub(crate) fn retrying(&self) {
        self.counters.retries.add_one();
        guarded(|| count!("tower_bearer_retries_total", self));
    }

    pub(crate) fn replay_refused(&self, why: &'static str) {
        self.counters.replays_refused.add_one();
        guarded(|| {
            count!("tower_bearer_replays_refused_total", self, "why" => why);
            tracing::debug!(cache = &*self.name, why, "request not sent again");
        });
    }

    /// Reports how a refresh ended. The caller holds no lock, since a recorder of logs or metrics is foreign
    /// code.
    pub(crate) fn ended(&self, ended: Ended) {
        let Ended {
            reason,
            began,
            now,
            authenticated,
            ending,
        } = ended;
        let took = now.since(began);
        #[cfg(feature = "metrics")]
        guarded(|| self.measure(took, authenticated, &ending));
        #[cfg(not(feature = "metrics"))]
        let _unmeasured = authenticated;
        self.count_ending(reason, &ending);
        guarded(|| self.log(reason, took, now, &ending));
        let outcome = match ending {
            Ending::Refreshed {
                generation,
                usable_until,
                ..
            } => Outcome::Refreshed {
                generation,
                expires_in: now.until(usable_until),
            },
            Ending::Failed { error, .. } => Outcome::Failed(error),
            Ending::Unchanged { .. } => Outcome::Unchanged,
            Ending::Abandoned => Outcome::Abandoned,
        };
        guarded(|| {
            count!("tower_bearer_refreshes_total", self, "reason" => reason.as_str(), "outcome" => outcome.as_str());
        });
        self.subscribers.send(Event {
            reason,
            outcome,
            took,
        });
    }

    fn count_ending(&self, reason: Reason, ending: &Ending) {
        match ending {
            Ending::Refreshed { lifetime_known, .. } => {
                self.counters.refreshes(reason).add_one();
                if !lifetime_known {
                    self.counters.unknown_lifetimes.add_one();
                    guarded(|| count!("tower_bearer_unknown_lifetimes_total", self));
                }
            }
            Ending::Failed { .. } => self.counters.failed_refreshes.add_one(),
            Ending::Unchanged { .. } | Ending::Abandoned => {}
        }
    }

    fn log(&self, reason: Reason, took: Duration, now: Reading, ending: &Ending) {
        let cache = &*self.name;
        let because = reason.as_str();
        let took_ms = millis(took);
        match ending {
            Ending::Refreshed {
                generation,
                usable_until,
                ..
            } => {
                let expires_in_s = now.until(*usable_until).as_secs();
                tracing::info!(
                    cache,
                    reason = because,
                    took_ms,
                    generation,
                    expires_in_s,
                    "token refreshed"
                );
            }
            Ending::Failed { error, usable } => self.log_failure(because, took_ms, error, *usable),
            Ending::Unchanged {
                error,
                usable: None,
            } => self.log_failure(because, took_ms, error, None),
            Ending::Unchanged {
                usable: Some(usable),
                ..
            } => {
                let usable_for_s = usable.remaining.as_secs();
                tracing::debug!(
                    cache,
                    reason = because,
                    took_ms,
                    usable_for_s,
                    "the source gave the current token again, which is still usable"
                );
            }
            Ending::Abandoned => {
                tracing::debug!(cache, reason = because, took_ms, "refresh abandoned");
            }
        }
    }

    /// While a usable token is left a failure disturbs nobody, so it is a warning only near that token's
    /// end (G47).
    fn log_failure(
        &self,
        reason: &'static str,
        took_ms: u64,
        error: &Error,
        usable: Option<Usable>,
    ) {
        const STILL_USABLE: &str = "token refresh failed; the current token is still usable";
        let cache = &*self.name;
        let error = format!("{error:#}");
        let Some(usable) = usable else {
            tracing::warn!(cache, reason, took_ms, error = %error, "token refresh failed; no usable token");
            return;
        };
        let usable_for_s = usable.remaining.as_secs();
        if usable.near_its_end {
            tracing::warn!(cache, reason, took_ms, usable_for_s, error = %error, "{STILL_USABLE}");
        } else {
            tracing::debug!(cache, reason, took_ms, usable_for_s, error = %error, "{STILL_USABLE}");
        }
    }

    #[cfg(feature = "metrics")]
    fn measure(&self, took: Duration, authenticated: bool, ending: &Ending) {
        let name = || self.name.clone();
        metrics::histogram!("tower_bearer_refresh_duration_seconds", "cache" => name())
            .record(took);
        let authenticated = if authenticated { 1.0 } else { 0.0 };
        metrics::gauge!("tower_bearer_authenticated", "cache" => name()).set(authenticated);
        if let Ending::Refreshed { usable_until, .. } = ending {
            metrics::gauge!("tower_bearer_token_expiry_timestamp_seconds", "cache" => name())
                .set(usable_until.unix_seconds());
        }
    }
}
