//! The pictures of the docs, as SVG by hand: latency around a refresh, and cost by threads.

use std::{collections::BTreeSet, fmt::Write};

use crate::steady::Traffic;

/// The net costs of a stack, with one thread, two, and so on.
#[derive(Clone, Debug)]
pub struct Bar {
    pub name: &'static str,
    pub nets: Vec<f64>,
}

const WIDTH: f64 = 760.0;
const COLOURS: [&str; 2] = ["#4477aa", "#ee6677"];

fn frame(height: f64, title: &str, inside: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">{title}</text>\n{inside}</svg>\n"
    )
}

/// Bars for what each stack adds to a request, on a logarithmic scale.
pub fn costs(bars: &[Bar]) -> String {
    let mut svg = String::new();
    let scale = |ns: f64| (ns.max(1.0).log10() / 4.0) * (WIDTH - 300.0);
    for (row, bar) in bars.iter().enumerate() {
        let y = 40.0 + row as f64 * 36.0;
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{:.0}\">{}</text>",
            y + 16.0,
            bar.name
        );
        for (threads, (net, colour)) in bar.nets.iter().zip(COLOURS).enumerate() {
            let y = y + threads as f64 * 14.0;
            let width = scale(*net);
            let _ = writeln!(
                svg,
                "<rect x=\"190\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"12\" fill=\"{colour}\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.0}\" font-size=\"10\">{net:.0} ns</text>",
                195.0 + width,
                y + 10.0
            );
        }
    }
    let height = 50.0 + bars.len() as f64 * 36.0;
    frame(
        height,
        "What it adds to a request: blue with 1 thread, red with 2 (logarithmic)",
        &svg,
    )
}

/// Latencies around one refresh of each client, from 300 ms before it to 600 ms after, on a logarithmic
/// scale.
pub fn refresh(traffic: &[Traffic]) -> String {
    const ROW: f64 = 70.0;
    let mut svg = String::new();
    let shown: Vec<&Traffic> = traffic
        .iter()
        .filter(|it| it.source.began().len() > 2)
        .collect();
    for (row, one) in shown.iter().enumerate() {
        let began = one.source.began();
        let middle = began[began.len() / 2];
        let top = 36.0 + row as f64 * ROW;
        let bottom = top + ROW - 14.0;
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{:.0}\">{}</text>\n<path d=\"M190 {bottom}H740\" stroke=\"#999\"/>\n\
             <path d=\"M{x} {top}V{bottom}\" stroke=\"#ccc\"/>",
            top + 30.0,
            one.name,
            x = x(0.0)
        );
        // Dots as one path per colour, each place once: thousands of circles would make a large file.
        let mut dots = [BTreeSet::new(), BTreeSet::new()];
        for sent in one.sent() {
            let after = sent.at.saturating_duration_since(middle).as_secs_f64()
                - middle.saturating_duration_since(sent.at).as_secs_f64();
            if !(-0.3..0.6).contains(&after) {
                continue;
            }
            // From a microsecond at the bottom to a second at the top.
            let share = (sent.took.as_secs_f64() * 1e6).max(1.0).log10() / 6.0;
            let y = bottom - share.min(1.0) * (bottom - top);
            dots[usize::from(sent.waited || !sent.ok)].insert((x(after) as i32, y as i32));
        }
        for (dots, colour) in dots.iter().zip(COLOURS) {
            let path: String = dots.iter().map(|(x, y)| format!("M{x} {y}h0")).collect();
            let _ = writeln!(
                svg,
                "<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linecap=\"round\"/>"
            );
        }
    }
    let height = 50.0 + shown.len() as f64 * ROW;
    frame(
        height,
        "Latency from 300 ms before a refresh to 600 ms after, 1 µs to 1 s (logarithmic); red: it waited or failed",
        &svg,
    )
}

fn x(after: f64) -> f64 {
    190.0 + (after + 0.3) / 0.9 * 550.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stack_has_a_bar_per_thread() {
        let svg = costs(&[Bar {
            name: "ours",
            nets: vec![40.0, 60.0],
        }]);
        assert_eq!(svg.matches("<rect x=").count(), 2);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
}
