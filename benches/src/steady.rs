//! Steady traffic, of all clients in one run: while tokens are refreshed, during an outage, and while every
//! token is rejected.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use benches::{
    peers::{Client, No, Peer},
    source::{Api, Source},
};
use http::StatusCode;
use tokio::time::{Instant, MissedTickBehavior};

/// How a request went.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub at: Instant,
    pub took: Duration,
    /// Whether it could not be answered at once.
    pub waited: bool,
    pub ok: bool,
}

/// A client under traffic, and what came of it.
pub struct Traffic {
    pub name: &'static str,
    pub source: Arc<Source>,
    client: Arc<dyn Client>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Traffic {
    pub fn new(name: &'static str, source: Arc<Source>, client: Arc<dyn Client>) -> Self {
        Self {
            name,
            source,
            client,
            sent: Arc::default(),
        }
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.sent
            .lock()
            .unwrap_or_else(|it| it.into_inner())
            .clone()
    }
}

/// A client whose first request was answered.
pub async fn warm(peer: &dyn Peer, source: Arc<Source>, api: Arc<Api>) -> Result<Traffic, No> {
    let client = peer.connect(source.clone(), api).await?;
    match client.send().await {
        Ok(StatusCode::OK) => Ok(Traffic::new(peer.name(), source, client)),
        other => Err(format!("the first request was not served: {other:?}")),
    }
}

/// Sends requests from all clients, one each at every tick.
pub async fn send(traffic: &[Traffic], every: Duration, lasts: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..(lasts.as_nanos() / every.as_nanos()) {
        ticks.tick().await;
        for one in traffic {
            let (client, sent) = (one.client.clone(), one.sent.clone());
            tokio::spawn(async move {
                let result = watch(&*client).await;
                sent.lock()
                    .unwrap_or_else(|it| it.into_inner())
                    .push(result);
            });
        }
    }
    // Who still waits has this long.
    tokio::time::sleep(Duration::from_secs(1)).await;
}

async fn watch(client: &dyn Client) -> Sent {
    let at = Instant::now();
    let mut response = pin!(client.send());
    let mut waited = false;
    let result = poll_fn(|cx| match response.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(result),
        Poll::Pending => {
            waited = true;
            Poll::Pending
        }
    })
    .await;
    Sent {
        at,
        took: at.elapsed(),
        waited,
        ok: matches!(result, Ok(StatusCode::OK)),
    }
}
