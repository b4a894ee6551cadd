//! An endpoint that is down from the moment when the token is due, and a service that rejects every token.
//! Both are counts, so they share the time.

use std::{sync::Arc, time::Duration};

use benches::{
    peers::Peer,
    source::{Api, Source},
};
use tokio::runtime::Runtime;

use crate::{
    refresh::{put, slowest},
    report::{Report, Value},
    steady,
};

/// How long things take: shorter in a quick run.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub quick: bool,
}

impl Scale {
    fn outage(self) -> Duration {
        Duration::from_millis(if self.quick { 800 } else { 8000 })
    }

    fn lasts(self) -> Duration {
        Duration::from_secs(if self.quick { 12 } else { 66 })
    }

    fn rejects(self) -> Duration {
        Duration::from_secs(if self.quick { 5 } else { 10 })
    }
}

/// Measures all.
pub fn measure(report: &mut Report, runtime: &Runtime, peers: &[Arc<dyn Peer>], scale: Scale) {
    if scale.quick {
        report.note(
            "A quick run's outage lasts 0.8 s, with tokens that are due after about 5 s, and the rejections 5 s."
                .into(),
        );
    }
    runtime.block_on(async {
        let mut down = Vec::new();
        let mut rejected = Vec::new();
        for peer in peers {
            match outage(&**peer, scale).await {
                Ok(client) => down.push(client),
                Err(no) => put(
                    report,
                    peers,
                    "outage_failed_requests",
                    peer.name(),
                    Value::No(no),
                ),
            }
            match always_401(&**peer).await {
                Ok(client) => rejected.push(client),
                Err(no) => put(
                    report,
                    peers,
                    "always_401_10s_fetches",
                    peer.name(),
                    Value::No(no),
                ),
            }
        }
        tokio::join!(
            steady::send(&down, Duration::from_millis(5), scale.lasts()),
            steady::send(&rejected, Duration::from_millis(10), scale.rejects()),
        );
        for one in &down {
            let failed = one.sent().iter().filter(|it| !it.ok).count();
            let value = match one.source.outage_is_over() {
                true => Value::Number(failed as f64),
                false => Value::Skipped("it did not try to refresh the token in time".into()),
            };
            put(report, peers, "outage_failed_requests", one.name, value);
            report.note(format!(
                "{}, outage: {} requests, {} fetches, the slowest took {:.1} ms.",
                one.name,
                one.sent().len(),
                one.source.fetches(),
                slowest(&one.sent())
            ));
        }
        for one in &rejected {
            let fetches = one.source.fetches().saturating_sub(1);
            put(
                report,
                peers,
                "always_401_10s_fetches",
                one.name,
                Value::Number(fetches as f64),
            );
        }
    });
}

async fn outage(peer: &dyn Peer, scale: Scale) -> Result<steady::Traffic, String> {
    let lifetime = match scale.quick {
        true => peer.lifetime(Duration::from_secs(5))?,
        false => peer.outage_lifetime(),
    };
    let source = Source::new(lifetime, Duration::from_millis(50)).down_when_due(scale.outage());
    steady::warm(peer, Arc::new(source), Arc::default()).await
}

async fn always_401(peer: &dyn Peer) -> Result<steady::Traffic, String> {
    if !peer.heals() {
        return Err("it fetches no other token after a 401".into());
    }
    let source = Arc::new(Source::new(
        Duration::from_secs(3600),
        Duration::from_millis(50),
    ));
    let api = Arc::new(Api::default());
    let traffic = steady::warm(peer, source, api.clone()).await?;
    api.reject_all();
    Ok(traffic)
}
