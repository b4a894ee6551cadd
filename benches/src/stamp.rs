//! What the layer costs a request: over a static header, over what a retry costs by hand, and beside the
//! peers.

use std::sync::Arc;

use benches::{
    paired::{self, Effort, Stack, Times, net, ratios},
    peers::{Peer, Stamp},
    stacks::{self, Make},
    stats::{median, middle},
};
use tokio::runtime::Runtime;

use crate::{
    plot,
    report::{Report, Value},
};

/// Times named stacks on some threads.
fn time(makes: &[(&'static str, &Make)], threads: usize, effort: Effort) -> Vec<Times> {
    let stacks = makes
        .iter()
        .map(|(name, make)| Stack {
            name,
            runners: (0..threads).map(|_| make()).collect(),
        })
        .collect();
    paired::time(stacks, effort)
}

fn ratio(over: &[f64], under: &[f64]) -> Value {
    Value::Measured(median(&ratios(over, under)))
}

/// Over a static header, and over a retry by hand.
pub fn own(report: &mut Report, runtime: &Runtime, effort: Effort) {
    for (metric, threads, clones) in [
        ("stamp_only_1t_vs_static", 1, false),
        ("stamp_only_2t_vs_static", 2, false),
        ("stamp_only_clone_vs_static", 2, true),
    ] {
        let makes =
            ["bare", "static", "ours"].map(|name| (name, stacks::named(runtime, name, clones)));
        let makes: Vec<_> = makes.iter().map(|(name, make)| (*name, make)).collect();
        let times = time(&makes, threads, effort);
        report.note(format!(
            "{metric}: {} ns bare, {} static, {} ours.",
            text(&times[0]),
            text(&times[1]),
            text(&times[2])
        ));
        report.put(metric, ratio(&times[2], &times[1]));
    }
    for (metric, floor, ours) in [
        ("stamp_retry_vs_floor", "floor", "ours_retry"),
        (
            "stamp_retry_client_vs_floor",
            "floor_client",
            "ours_retry_client",
        ),
    ] {
        let floor = ("floor", stacks::named(runtime, floor, false));
        let ours = ("ours", stacks::named(runtime, ours, false));
        let times = time(&[(floor.0, &floor.1), (ours.0, &ours.1)], 1, effort);
        report.note(format!(
            "{metric}: {} ns floor, {} ours.",
            text(&times[0]),
            text(&times[1])
        ));
        report.put(metric, ratio(&times[1], &times[0]));
    }
}

fn text(times: &[f64]) -> String {
    format!("{:.0}", middle(times))
}

/// Beside the peers, each less its own stack without authentication.
pub fn peers(
    report: &mut Report,
    runtime: &Runtime,
    peers: &[Arc<dyn Peer>],
    effort: Effort,
) -> Vec<plot::Bar> {
    let fixed = Stamp {
        with: stacks::named(runtime, "static", false),
        bare: stacks::named(runtime, "bare", false),
    };
    let mut stamps: Vec<(&'static str, Stamp)> = vec![("tower-http", fixed)];
    for peer in peers {
        match peer.stamp(runtime) {
            Ok(stamp) => stamps.push((peer.name(), stamp)),
            Err(why) => {
                for metric in ["stamp_only_net_ns_1t", "stamp_only_net_ns_2t"] {
                    report.put_peer(metric, peer.name(), Value::Skipped(why.clone()));
                }
            }
        }
    }
    let makes: Vec<(&'static str, &Make)> = stamps
        .iter()
        .flat_map(|(name, stamp)| [(*name, &stamp.with), (*name, &stamp.bare)])
        .collect();
    let mut bars: Vec<plot::Bar> = stamps
        .iter()
        .map(|(name, _)| plot::Bar {
            name,
            nets: Vec::new(),
        })
        .collect();
    for (threads, metric, best_metric) in [
        (1, "stamp_only_net_ns_1t", "stamp_1t_vs_best_peer"),
        (2, "stamp_only_net_ns_2t", "stamp_2t_vs_best_peer"),
    ] {
        let times = time(&makes, threads, effort);
        let nets: Vec<Vec<f64>> = times
            .chunks(2)
            .map(|pair| net(&pair[0], &pair[1]))
            .collect();
        for (bar, net) in bars.iter_mut().zip(&nets) {
            bar.nets.push(middle(net));
        }
        let floors: Vec<f64> = times.chunks(2).map(|pair| middle(&pair[1])).collect();
        // The first is the static header, the second this project.
        for (place, (name, _)) in stamps.iter().enumerate() {
            let value = Value::Measured(median(&nets[place]));
            match place {
                1 => report.put(metric, value),
                _ => {
                    report.put_peer(metric, name, value);
                    let floor = format!("{}_bare", metric.replace("net_", ""));
                    report.put_peer(&floor, name, Value::Number(floors[place].round()));
                }
            }
        }
        let best = (2..stamps.len()).min_by(|&a, &b| middle(&nets[a]).total_cmp(&middle(&nets[b])));
        match best {
            Some(best) => {
                report.note(format!(
                    "The cheapest refreshing peer with {threads} thread(s) is {}: {:.0} ns net; this project {:.0}.",
                    stamps[best].0,
                    middle(&nets[best]),
                    middle(&nets[1])
                ));
                report.put(best_metric, ratio(&nets[1], &nets[best]));
            }
            None => report.put(best_metric, Value::Skipped("there are no peers".into())),
        }
    }
    bars
}
