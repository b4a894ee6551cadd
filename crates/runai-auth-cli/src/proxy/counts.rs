//! What the proxy counts, beside what the token's cache does. Plain atomics: they are touched per request.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use http::StatusCode;

use super::reason::Reason;

#[derive(Debug)]
pub(crate) struct Counts {
    in_flight: AtomicUsize,
    connections: AtomicU64,
    by_class: [AtomicU64; 5],
    by_reason: Vec<AtomicU64>,
    upstream_errors: AtomicU64,
}

impl Counts {
    pub(crate) fn new() -> Self {
        Self {
            in_flight: AtomicUsize::new(0),
            connections: AtomicU64::new(0),
            by_class: Default::default(),
            by_reason: Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            upstream_errors: AtomicU64::new(0),
        }
    }

    pub(crate) fn begun(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(crate) fn ended(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub(crate) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(count) = self.by_class.get(class.wrapping_sub(1)) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn refused(&self, reason: Reason) {
        if let Some(count) = self.by_reason.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
        if matches!(reason, Reason::Unreachable | Reason::Upstream) {
            self.broken();
        }
    }

    /// The connection to the control plane failed or broke.
    pub(crate) fn broken(&self) {
        self.upstream_errors.fetch_add(1, Relaxed);
    }

    /// As Prometheus reads it.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
            // Writing to a text does not fail.
            let _written = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _written = writeln!(text, "{name}{labels} {value}");
            }
        };
        let classes = self.by_class.iter().zip(1..).map(|(count, class)| {
            let labels = format!("{{status=\"{class}xx\"}}");
            (labels, count.load(Relaxed))
        });
        family(
            "runai_auth_proxy_requests_total",
            "counter",
            "Answers, by the class of their status.",
            &classes.collect::<Vec<_>>(),
        );
        let reasons = Reason::ALL.iter().zip(&self.by_reason);
        let reasons = reasons.map(|(reason, count)| {
            let labels = format!("{{reason=\"{}\"}}", reason.as_str());
            (labels, count.load(Relaxed))
        });
        family(
            "runai_auth_proxy_refused_total",
            "counter",
            "Requests that the proxy answered itself, by the reason.",
            &reasons.collect::<Vec<_>>(),
        );
        for (name, kind, help, value) in [
            (
                "runai_auth_proxy_in_flight",
                "gauge",
                "Requests in flight.",
                self.in_flight() as u64,
            ),
            (
                "runai_auth_proxy_connections_total",
                "counter",
                "Connections that were accepted.",
                self.connections.load(Relaxed),
            ),
            (
                "runai_auth_proxy_upstream_errors_total",
                "counter",
                "Connections to the control plane that failed or broke.",
                self.upstream_errors.load(Relaxed),
            ),
        ] {
            family(name, kind, help, &[(String::new(), value)]);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_with_their_labels() {
        let counts = Counts::new();
        counts.begun();
        counts.answered(StatusCode::OK);
        counts.answered(StatusCode::BAD_GATEWAY);
        counts.refused(Reason::Unreachable);
        let text = counts.text();
        for line in [
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
