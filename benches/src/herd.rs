//! Many requests at once: with no token, with a revoked one, with an endpoint that fails; and a request
//! that is dropped while others wait for what it began.

use std::{sync::Arc, time::Duration};

use benches::{
    peers::{Client, Peer},
    source::{Api, Source},
};
use http::StatusCode;
use tokio::{runtime::Runtime, task::JoinSet, time::Instant};

use crate::report::{Report, Value};

const HOUR: Duration = Duration::from_secs(3600);
const TAKES: Duration = Duration::from_millis(50);

/// Longer than any of it should take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Requests that were answered 200, of this many that were sent at once.
async fn at_once(client: &Arc<dyn Client>, requests: usize) -> usize {
    let mut all = JoinSet::new();
    for _ in 0..requests {
        let client = client.clone();
        all.spawn(async move { client.send().await });
    }
    let mut served = 0;
    let _ = tokio::time::timeout(PATIENCE, async {
        while let Some(sent) = all.join_next().await {
            served += usize::from(matches!(sent, Ok(Ok(StatusCode::OK))));
        }
    })
    .await;
    served
}

/// The figures of one peer.
async fn measure(peer: &dyn Peer) -> Vec<(&'static str, Value)> {
    let (fetches, wall) = failing(peer).await;
    vec![
        ("cold_1000_fetches", cold(peer).await),
        ("rejected_1000_fetches", rejected(peer).await),
        ("failing_cold_100_fetches", fetches),
        ("failing_cold_100_wall_ms", wall),
        ("leader_dropped_fetches", leader_dropped(peer).await),
    ]
}

async fn cold(peer: &dyn Peer) -> Value {
    let source = Arc::new(Source::new(HOUR, TAKES));
    let client = match peer.connect(source.clone(), Arc::default()).await {
        Ok(client) => client,
        Err(no) => return Value::No(no),
    };
    match at_once(&client, 1000).await {
        1000 => Value::Number(source.fetches() as f64),
        served => Value::Skipped(format!("only {served} of 1000 were served")),
    }
}

async fn rejected(peer: &dyn Peer) -> Value {
    if !peer.heals() {
        return Value::no("it fetches no other token after a 401");
    }
    let source = Arc::new(Source::new(HOUR, TAKES));
    let api = Arc::new(Api::default());
    let client = match peer.connect(source.clone(), api.clone()).await {
        Ok(client) => client,
        Err(no) => return Value::No(no),
    };
    if at_once(&client, 1).await != 1 {
        return Value::Skipped("the first request was not served".into());
    }
    let first = source.fetches();
    api.revoke(first);
    match at_once(&client, 1000).await {
        1000 => Value::Number((source.fetches() - first) as f64),
        served => Value::Skipped(format!(
            "only {served} of 1000 were served, with {} fetches",
            source.fetches() - first
        )),
    }
}

async fn failing(peer: &dyn Peer) -> (Value, Value) {
    if peer.fetches_first() {
        let no = Value::no("there is no client before the first token: its constructor fails");
        return (no.clone(), no);
    }
    let source = Arc::new(Source::new(HOUR, TAKES).failing());
    let client = match peer.connect(source.clone(), Arc::default()).await {
        Ok(client) => client,
        Err(no) => return (Value::No(no.clone()), Value::No(no)),
    };
    let began = Instant::now();
    at_once(&client, 100).await;
    let wall = began.elapsed().as_secs_f64() * 1000.0;
    (
        Value::Number(source.fetches() as f64),
        Value::Number((wall * 10.0).round() / 10.0),
    )
}

async fn leader_dropped(peer: &dyn Peer) -> Value {
    if peer.fetches_first() {
        return Value::no("no request begins a first fetch: its constructor does");
    }
    let source = Arc::new(Source::new(HOUR, 4 * TAKES));
    let client = match peer.connect(source.clone(), Arc::default()).await {
        Ok(client) => client,
        Err(no) => return Value::No(no),
    };
    let sending = client.clone();
    let leader = tokio::spawn(async move { sending.send().await });
    // The source takes 200 ms. The leader is there first, and is dropped in the middle of it.
    tokio::time::sleep(Duration::from_millis(40)).await;
    let follower = tokio::spawn(async move { client.send().await });
    tokio::time::sleep(Duration::from_millis(40)).await;
    leader.abort();
    match tokio::time::timeout(PATIENCE, follower).await {
        Ok(Ok(Ok(StatusCode::OK))) => Value::Number(source.fetches() as f64),
        other => Value::Skipped(format!("the follower was not served: {other:?}")),
    }
}

/// The figures of all: first this project's, then those of the peers at once, since they are counts, and
/// some take seconds for what takes others milliseconds.
pub fn all(report: &mut Report, runtime: &Runtime, peers: &[Arc<dyn Peer>]) {
    let Some((ours, others)) = peers.split_first() else {
        return;
    };
    runtime.block_on(async {
        for (name, value) in measure(&**ours).await {
            report.put(name, value);
        }
        let mut measured = JoinSet::new();
        for (place, peer) in others.iter().cloned().enumerate() {
            measured.spawn(async move { (place, measure(&*peer).await) });
        }
        let mut measured = measured.join_all().await;
        measured.sort_by_key(|(place, _)| *place);
        for (place, values) in measured {
            for (name, value) in values {
                report.put_peer(name, others[place].name(), value);
            }
        }
    });
}
