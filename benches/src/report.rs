//! What was measured, as a table for people and as lines for machines.

use std::fmt::Write;

use benches::stats::Median;

/// What a metric must reach.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    AtMost(f64),
    AtLeast(f64),
    Stated,
}

/// All metrics of this project, in the order of the table.
pub const METRICS: [(&str, &str, Reach); 30] = [
    (
        "stamp_only_1t_vs_static",
        "retry off, over tower-http's static layer, 1 thread",
        Reach::AtMost(1.08),
    ),
    (
        "stamp_only_2t_vs_static",
        "the same, 2 threads on one service",
        Reach::AtMost(1.0),
    ),
    (
        "stamp_only_clone_vs_static",
        "the same, 2 threads, a clone of the service per request",
        Reach::AtMost(1.10),
    ),
    (
        "stamp_only_net_instructions_vs_static",
        "instructions, each less the bare stack's",
        Reach::AtMost(1.5),
    ),
    (
        "stamp_only_extra_allocs",
        "allocations a request beyond the static layer's",
        Reach::AtMost(0.0),
    ),
    (
        "stamp_retry_vs_floor",
        "retry on, over static + a copied head + a cloned service",
        Reach::AtMost(1.10),
    ),
    (
        "stamp_retry_client_vs_floor",
        "the same, the cloned service is a hyper-util client",
        Reach::AtMost(1.10),
    ),
    (
        "stamp_retry_extra_allocs",
        "allocations a request beyond that floor's",
        Reach::AtMost(0.0),
    ),
    (
        "stamp_retry_client_extra_allocs",
        "the same with the client",
        Reach::AtMost(0.0),
    ),
    (
        "stamp_1t_vs_best_peer",
        "net cost over the cheapest refreshing peer's, 1 thread",
        Reach::AtMost(0.7),
    ),
    (
        "stamp_2t_vs_best_peer",
        "the same, 2 threads",
        Reach::AtMost(0.5),
    ),
    (
        "refresh_waiters",
        "requests that waited while tokens were refreshed",
        Reach::AtMost(0.0),
    ),
    (
        "refresh_added_ms_p999",
        "what the slowest thousandth gained, ms",
        Reach::AtMost(5.0),
    ),
    (
        "cold_1000_fetches",
        "fetches for 1,000 requests and no token",
        Reach::AtMost(1.0),
    ),
    (
        "rejected_1000_fetches",
        "fetches for 1,000 requests with a revoked token",
        Reach::AtMost(1.0),
    ),
    (
        "always_401_10s_fetches",
        "fetches beyond the first in 10 s of rejections",
        Reach::AtMost(4.0),
    ),
    (
        "failing_cold_100_fetches",
        "fetches for 100 requests at an endpoint that fails",
        Reach::AtMost(1.0),
    ),
    (
        "failing_cold_100_wall_ms",
        "until all 100 have failed, ms",
        Reach::AtMost(60.0),
    ),
    (
        "leader_dropped_fetches",
        "fetches if the request that began one is dropped",
        Reach::AtMost(1.0),
    ),
    (
        "outage_failed_requests",
        "requests that failed in an outage",
        Reach::AtMost(0.0),
    ),
    (
        "e2e_throughput_vs_bare",
        "hyper client, h2 over loopback, with the layer over the same token by hand",
        Reach::AtLeast(0.98),
    ),
    (
        "e2e_throughput_vs_no_token",
        "the same over requests with no token at all",
        Reach::Stated,
    ),
    (
        "upload_1gib_throughput_vs_bare",
        "streamed upload, replay on, with over without",
        Reach::AtLeast(0.97),
    ),
    (
        "upload_1gib_peak_live_mib",
        "live memory at most during it, MiB",
        Reach::AtMost(1.0),
    ),
    (
        "proxy_cpu_vs_nginx",
        "CPU a request of `runai-auth proxy` over nginx's",
        Reach::AtMost(1.6),
    ),
    (
        "waiting_bytes_per_request",
        "memory of a request that waits, less its own",
        Reach::AtMost(1024.0),
    ),
    (
        "engine_dependencies",
        "crates in tower-bearer's normal tree",
        Reach::AtMost(19.0),
    ),
    (
        "runai_auth_dependencies",
        "crates in runai-auth's normal tree",
        Reach::Stated,
    ),
    (
        "stamp_only_net_ns_1t",
        "net cost of the layer, 1 thread, ns",
        Reach::Stated,
    ),
    (
        "stamp_only_net_ns_2t",
        "the same, 2 threads, ns",
        Reach::Stated,
    ),
];

/// What a measurement came to.
#[derive(Clone, Debug)]
pub enum Value {
    Number(f64),
    Measured(Median),
    /// There is no way to do it.
    No(String),
    /// It cannot run here.
    Skipped(String),
}

impl Value {
    /// The reason of what a peer cannot do.
    pub fn no(why: impl Into<String>) -> Self {
        Self::No(why.into())
    }

    fn short(&self) -> String {
        match self {
            Self::Number(number) => number_text(*number),
            Self::Measured(median) => number_text(median.value),
            Self::No(_) => "no".into(),
            Self::Skipped(why) => format!("skipped: {why}"),
        }
    }

    fn long(&self) -> String {
        match self {
            Self::Measured(median) => format!(
                "{} ({}–{})",
                number_text(median.value),
                number_text(median.low),
                number_text(median.high)
            ),
            other => other.short(),
        }
    }

    /// Whether it reaches what it must: ratios of times by the lower end of their interval.
    fn holds(&self, reach: Reach) -> Option<bool> {
        let value = match self {
            Self::Number(number) => *number,
            Self::Measured(median) => median.low,
            Self::No(_) | Self::Skipped(_) => return None,
        };
        match reach {
            Reach::AtMost(bound) => Some(value <= bound),
            Reach::AtLeast(bound) => Some(value >= bound),
            Reach::Stated => None,
        }
    }
}

fn number_text(number: f64) -> String {
    if number.fract() == 0.0 {
        format!("{number:.0}")
    } else if number.abs() >= 100.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.3}")
    }
}

/// The results so far.
#[derive(Debug, Default)]
pub struct Report {
    ours: Vec<(String, Value)>,
    peers: Vec<(String, String, Value)>,
    notes: Vec<String>,
}

impl Report {
    /// A metric of this project.
    pub fn put(&mut self, name: &str, value: Value) {
        eprintln!("{name}: {}", value.long());
        self.ours.push((name.into(), value));
    }

    /// The same metric of a peer.
    pub fn put_peer(&mut self, name: &str, peer: &str, value: Value) {
        eprintln!("{name}.{peer}: {}", value.long());
        self.peers.push((name.into(), peer.into(), value));
    }

    /// A line below the tables.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Everything, as it is printed.
    pub fn text(&self, names: &[&str]) -> String {
        let mut text = String::new();
        self.write(&mut text, names)
            .expect("a string takes all that is written to it");
        text
    }

    fn write(&self, text: &mut String, peers: &[&str]) -> std::fmt::Result {
        writeln!(text, "| metric | what | median (95 % interval) | reach | |")?;
        writeln!(text, "| --- | --- | --- | --- | --- |")?;
        for (name, what, reach) in METRICS {
            let Some((_, value)) = self.ours.iter().find(|(it, _)| it == name) else {
                continue;
            };
            let bound = match reach {
                Reach::AtMost(bound) => format!("≤ {bound}"),
                Reach::AtLeast(bound) => format!("≥ {bound}"),
                Reach::Stated => "stated".into(),
            };
            let holds = match value.holds(reach) {
                Some(true) => "reached",
                Some(false) => "**missed**",
                None => "",
            };
            writeln!(
                text,
                "| `{name}` | {what} | {} | {bound} | {holds} |",
                value.long()
            )?;
        }
        self.write_peers(text, peers)?;
        for note in &self.notes {
            writeln!(text, "\n{note}")?;
        }
        writeln!(text)?;
        for (name, value) in &self.ours {
            write_lines(text, name, value)?;
        }
        for (name, peer, value) in &self.peers {
            write_lines(text, &format!("{name}.{peer}"), value)?;
        }
        Ok(())
    }

    /// One row per peer, one column per metric that some peer has.
    fn write_peers(&self, text: &mut String, peers: &[&str]) -> std::fmt::Result {
        let mut names: Vec<&str> = Vec::new();
        for (name, ..) in &self.peers {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        for names in names.chunks(5) {
            writeln!(text, "\n| | {} |", names.join(" | "))?;
            writeln!(text, "|{}", " --- |".repeat(names.len() + 1))?;
            for peer in peers {
                let cells: Vec<String> = names
                    .iter()
                    .map(|name| {
                        let found = self.peers.iter().find(|(n, p, _)| n == name && p == peer);
                        found.map_or(String::new(), |(.., value)| value.long())
                    })
                    .collect();
                if cells.iter().any(|cell| !cell.is_empty()) {
                    writeln!(text, "| {peer} | {} |", cells.join(" | "))?;
                }
            }
        }
        let whys: Vec<String> = self
            .peers
            .iter()
            .filter_map(|(name, peer, value)| match value {
                Value::No(why) => Some(format!("- {peer}, {name}: no, since {why}")),
                _ => None,
            })
            .collect();
        match whys.is_empty() {
            true => Ok(()),
            false => writeln!(text, "\n{}", whys.join("\n")),
        }
    }
}

fn write_lines(text: &mut String, name: &str, value: &Value) -> std::fmt::Result {
    writeln!(text, "metric {name} {}", value.short())?;
    match value {
        Value::Measured(median) => {
            writeln!(text, "interval {name} {:.4} {:.4}", median.low, median.high)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_judged_by_the_lower_end_and_counts_by_themselves() {
        let median = Median {
            value: 1.1,
            low: 1.07,
            high: 1.2,
        };
        assert_eq!(
            Value::Measured(median).holds(Reach::AtMost(1.08)),
            Some(true)
        );
        assert_eq!(
            Value::Measured(median).holds(Reach::AtMost(1.06)),
            Some(false)
        );
        assert_eq!(Value::Number(1.0).holds(Reach::AtMost(0.0)), Some(false));
        assert_eq!(Value::no("none").holds(Reach::AtMost(0.0)), None);
    }

    #[test]
    fn each_metric_is_a_line() {
        let mut report = Report::default();
        report.put("cold_1000_fetches", Value::Number(1.0));
        report.put_peer("cold_1000_fetches", "other", Value::no("there is none"));
        let text = report.text(&["other"]);
        assert!(text.contains("\nmetric cold_1000_fetches 1\n"), "{text}");
        assert!(
            text.contains("\nmetric cold_1000_fetches.other no\n"),
            "{text}"
        );
        assert!(text.contains("reached"), "{text}");
    }
}
