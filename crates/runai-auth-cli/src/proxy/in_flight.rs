//! A request in flight.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::{activity::Activity, metrics::Metrics};

/// A request that is not over. The answer's body holds it, or the tunnel that the connection became.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// The place that the request takes, unless the proxy is busy and refuses it.
    _place: Option<OwnedSemaphorePermit>,
    metrics: Arc<Metrics>,
    activity: Arc<Activity>,
}

impl InFlight {
    pub(crate) fn begin(
        place: Option<OwnedSemaphorePermit>,
        metrics: Arc<Metrics>,
        activity: Arc<Activity>,
    ) -> Self {
        metrics.request_began();
        activity.request_began();
        Self {
            _place: place,
            metrics,
            activity,
        }
    }

    /// Counts an answer that broke off.
    pub(crate) fn upstream_failed(&self) {
        self.metrics.upstream_failed();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.request_ended();
        self.activity.request_ended();
    }
}
