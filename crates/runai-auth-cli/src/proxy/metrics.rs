//! The proxy's own metrics. The token cache's go to the same recorder.

use http::StatusCode;
use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::reason::Reason;
use crate::failure::{Failure, OTHER};

const REQUESTS: &str = "runai_auth_proxy_requests_total";
const REFUSED: &str = "runai_auth_proxy_refused_total";
const IN_FLIGHT: &str = "runai_auth_proxy_in_flight";
const CONNECTIONS: &str = "runai_auth_proxy_connections_total";
const UPSTREAM_ERRORS: &str = "runai_auth_proxy_upstream_errors_total";

/// Installs the recorder of the process. Metrics that were made before are not recorded.
pub(crate) fn install_recorder() -> Result<PrometheusHandle, Failure> {
    PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| Failure::new(OTHER, format!("cannot record metrics: {error}"), ""))
}

/// Handles of the metrics. Each exists from the start, so that a scrape shows zeros.
#[derive(Debug)]
pub(crate) struct Metrics {
    by_class: [Counter; 5],
    by_reason: Vec<Counter>,
    in_flight: Gauge,
    connections: Counter,
    upstream_errors: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        describe_counter!(
            REQUESTS,
            Unit::Count,
            "Answers, by the class of their status."
        );
        describe_counter!(
            REFUSED,
            Unit::Count,
            "Requests that the proxy answered itself, by the reason."
        );
        describe_gauge!(IN_FLIGHT, Unit::Count, "Requests in flight.");
        describe_counter!(CONNECTIONS, Unit::Count, "Connections that were accepted.");
        describe_counter!(
            UPSTREAM_ERRORS,
            Unit::Count,
            "Connections to the control plane that failed or broke."
        );
        let by_reason = Reason::ALL
            .iter()
            .map(|reason| counter!(REFUSED, "reason" => reason.as_str()));
        Self {
            by_class: ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .map(|class| counter!(REQUESTS, "status" => class)),
            by_reason: by_reason.collect(),
            in_flight: gauge!(IN_FLIGHT),
            connections: counter!(CONNECTIONS),
            upstream_errors: counter!(UPSTREAM_ERRORS),
        }
    }

    pub(crate) fn request_began(&self) {
        self.in_flight.increment(1.0);
    }

    pub(crate) fn request_ended(&self) {
        self.in_flight.decrement(1.0);
    }

    pub(crate) fn connected(&self) {
        self.connections.increment(1);
    }

    pub(crate) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(count) = self.by_class.get(class.wrapping_sub(1)) {
            count.increment(1);
        }
    }

    pub(crate) fn refused(&self, reason: Reason) {
        if let Some(count) = self.by_reason.get(reason as usize) {
            count.increment(1);
        }
        if matches!(reason, Reason::Unreachable | Reason::Upstream) {
            self.upstream_failed();
        }
    }

    /// Counts a connection to the control plane that failed or broke.
    pub(crate) fn upstream_failed(&self) {
        self.upstream_errors.increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_their_names_and_labels() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = metrics::with_local_recorder(&recorder, Metrics::new);
        metrics.request_began();
        metrics.answered(StatusCode::OK);
        metrics.answered(StatusCode::BAD_GATEWAY);
        metrics.refused(Reason::Unreachable);
        let text = recorder.handle().render();
        for line in [
            "# HELP runai_auth_proxy_in_flight Requests in flight.",
            "# TYPE runai_auth_proxy_in_flight gauge",
            "# TYPE runai_auth_proxy_requests_total counter",
            "runai_auth_proxy_requests_total{status=\"2xx\"} 1",
            "runai_auth_proxy_requests_total{status=\"4xx\"} 0",
            "runai_auth_proxy_requests_total{status=\"5xx\"} 1",
            "runai_auth_proxy_refused_total{reason=\"unreachable\"} 1",
            "runai_auth_proxy_in_flight 1",
            "runai_auth_proxy_upstream_errors_total 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    }
}
