//! What a refresh costs the requests around it: 1,000 a second, over 20 lifetimes, with a source that takes
//! 200 ms. All clients are under traffic at once, and one whose header is fixed shows what the machine adds.

use std::{sync::Arc, time::Duration};

use benches::{
    peers::{Boxed, Client, Peer, ours::Judge},
    source::{Api, Source},
    stats::quantile,
    workload::{request, token},
};
use http::{HeaderValue, StatusCode, header};
use tokio::runtime::Runtime;
use tower_service::Service;

use crate::{
    report::{Report, Value},
    steady::{self, Sent, Traffic},
};

/// The lifetime of this project's tokens. The peers' are due as often.
const LIFETIME: Duration = Duration::from_secs(2);
const TAKES: Duration = Duration::from_millis(200);

/// A header that never changes.
struct Fixed(Judge, HeaderValue);

impl Client for Fixed {
    fn send(&self) -> Boxed<Result<StatusCode, String>> {
        let mut judge = self.0.clone();
        let mut request = request();
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, self.1.clone());
        Box::pin(async move {
            let response = judge.call(request).await.map_err(|it| it.to_string())?;
            Ok(response.status())
        })
    }
}

/// Measures all; what was seen is there for a plot.
pub fn measure(
    report: &mut Report,
    runtime: &Runtime,
    peers: &[Arc<dyn Peer>],
    lifetimes: u32,
) -> Vec<Traffic> {
    runtime.block_on(run(report, peers, lifetimes))
}

async fn run(report: &mut Report, peers: &[Arc<dyn Peer>], lifetimes: u32) -> Vec<Traffic> {
    let mut traffic = Vec::new();
    let header = HeaderValue::try_from(format!("Bearer 1.{}", token())).expect("a header");
    let unused = Arc::new(Source::new(LIFETIME, TAKES));
    let fixed = Arc::new(Fixed(Judge(Arc::new(Api::default())), header));
    traffic.push(Traffic::new("fixed", unused, fixed));
    // All are warmed at once: a token must not expire while another client fetches its first.
    let mut started = tokio::task::JoinSet::new();
    for (place, peer) in peers.iter().enumerate() {
        let peer = peer.clone();
        started.spawn(async move {
            let client = match peer.lifetime(LIFETIME / 2) {
                Ok(lifetime) => {
                    let source = Arc::new(Source::new(lifetime, TAKES));
                    steady::warm(&*peer, source, Arc::default()).await
                }
                Err(no) => Err(no),
            };
            (place, client)
        });
    }
    let mut started = started.join_all().await;
    started.sort_by_key(|(place, _)| *place);
    let mut refused = Vec::new();
    for (place, client) in started {
        match client {
            Ok(client) => traffic.push(client),
            Err(no) => refused.push((peers[place].name(), no)),
        }
    }
    steady::send(&traffic, Duration::from_millis(1), LIFETIME * lifetimes).await;
    let floor = p999(&traffic[0]);
    report.note(format!(
        "While tokens were refreshed, the slowest thousandth of the requests with a fixed header took {floor:.3} ms."
    ));
    for one in &traffic[1..] {
        let sent = one.sent();
        let waiters = sent.iter().filter(|it| it.waited).count();
        let failed = sent.iter().filter(|it| !it.ok).count();
        let added = (p999(one) - floor).max(0.0);
        let refreshes = one.source.fetches().saturating_sub(1);
        put(
            report,
            peers,
            "refresh_waiters",
            one.name,
            Value::Number(waiters as f64),
        );
        put(
            report,
            peers,
            "refresh_added_ms_p999",
            one.name,
            Value::Number(added),
        );
        report.note(format!(
            "{}: {} requests, {refreshes} refreshes, {failed} requests failed, the slowest took {:.1} ms.",
            one.name,
            sent.len(),
            slowest(&sent),
        ));
    }
    for (name, no) in refused {
        put(
            report,
            peers,
            "refresh_waiters",
            name,
            Value::no(no.clone()),
        );
        put(report, peers, "refresh_added_ms_p999", name, Value::no(no));
    }
    traffic
}

fn p999(traffic: &Traffic) -> f64 {
    let took: Vec<f64> = traffic
        .sent()
        .iter()
        .map(|it| it.took.as_secs_f64() * 1000.0)
        .collect();
    quantile(&took, 0.999)
}

/// The longest time that a request took, in milliseconds.
pub fn slowest(sent: &[Sent]) -> f64 {
    let longest = sent.iter().map(|it| it.took).max().unwrap_or_default();
    longest.as_secs_f64() * 1000.0
}

/// A figure of this project, which comes first, or of a peer.
pub fn put(report: &mut Report, peers: &[Arc<dyn Peer>], metric: &str, name: &str, value: Value) {
    match peers.first().is_some_and(|first| first.name() == name) {
        true => report.put(metric, value),
        false => report.put_peer(metric, name, value),
    }
}
