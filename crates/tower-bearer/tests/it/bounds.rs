//! The numbers of docs/limits.md, over simulated hours and days.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tokio_test::task;
use tower::{Layer, ServiceExt, service_fn};
use tower_bearer::{BearerAuthLayer, Phase, ReplayBody, SourceError, Token, TokenCache};

use crate::support::{Answer, Control, cache, scripted, settle, token};

/// Runs one caller each `step` seconds for `secs`, and answers the fetches. Returns how many there were.
async fn run(
    cache: &TokenCache,
    control: &Control,
    secs: f64,
    step: f64,
    mut answer: impl FnMut(usize) -> Answer,
) -> usize {
    let before = control.calls();
    for _ in 0..(secs / step) as usize {
        // The caller leaves at once: a refresh does not need one that waits.
        drop(task::spawn(cache.token()).poll());
        while cache.status().phase == Phase::Refreshing {
            settle().await;
            if let Some(fetching) = control.asked_by_now() {
                fetching.answer(answer(control.calls()));
                settle().await;
            } else {
                // Between two attempts.
                break;
            }
        }
        control.advance(step);
        settle().await;
    }
    control.calls() - before
}

fn down(_: usize) -> Answer {
    Err(SourceError::transient("down"))
}

fn fresh(call: usize) -> Answer {
    Ok(token(&format!("t{call}")))
}

#[tokio::test]
async fn g37_steady_traffic() {
    for seed in 0..5 {
        let (builder, control) = scripted();
        let cache = builder.seed(seed).build();
        let fetches = run(&cache, &control, 86_400.0, 10.0, fresh).await;
        // A refresh every 2670 s to 2970 s.
        assert!((28..=33).contains(&fetches), "{fetches} in a day");
    }
}

#[tokio::test]
async fn g37_steady_traffic_with_tokens_of_any_lifetime() {
    for lifetime in [1, 7, 60, 300, 86_400] {
        let (cache, control) = cache();
        let short = |call| {
            let token = Token::new(format!("t{call}")).unwrap();
            Ok(token.expires_in(Duration::from_secs(lifetime)))
        };
        let secs = lifetime as f64 * 20.0;
        let fetches = run(&cache, &control, secs, secs / 2000.0, short).await;
        assert!(
            (20..=40).contains(&fetches),
            "{lifetime} s: {fetches} in 20 lifetimes"
        );
    }
}

#[tokio::test]
async fn g37_an_outage_while_a_token_is_in_use() {
    for seed in 0..5 {
        let (builder, control) = scripted();
        let cache = builder.seed(seed).build();
        control.fill(&cache, "t1").await;
        control.clock.advance(cache.status().due_in.unwrap());
        let left = cache.status().expires_in.unwrap().as_secs_f64();
        let fetches = run(&cache, &control, left, 0.1, down).await;
        assert!((10..=40).contains(&fetches), "{fetches} in the window");
    }
}

#[tokio::test]
async fn g37_an_outage_without_a_token() {
    let (cache, control) = cache();
    run(&cache, &control, 600.0, 0.1, down).await;
    let fetches = run(&cache, &control, 3600.0, 0.1, down).await;
    assert!((180..=360).contains(&fetches), "{fetches} in an hour");
}

#[tokio::test]
async fn g37_a_pause_that_is_asked_for() {
    for (asked, at_most) in [(120, 30), (86_400, 12)] {
        let (cache, control) = cache();
        let overloaded = |_| {
            let error = SourceError::transient("overloaded");
            Err(error.retry_after(Duration::from_secs(asked)))
        };
        run(&cache, &control, 60.0, 0.1, overloaded).await;
        let fetches = run(&cache, &control, 3600.0, 1.0, overloaded).await;
        assert!(
            (at_most - 2..=at_most).contains(&fetches),
            "{asked}: {fetches} in an hour"
        );
    }
}

#[tokio::test]
async fn g37_invalid_credentials() {
    let (cache, control) = cache();
    let invalid = |_| Err(SourceError::invalid_credentials("invalid_client"));
    let first = run(&cache, &control, 3600.0, 1.0, invalid).await;
    assert!((15..=17).contains(&first), "{first} in the first hour");
    let further = run(&cache, &control, 3600.0, 1.0, invalid).await;
    assert!((11..=12).contains(&further), "{further} in the second");
}

#[tokio::test]
async fn g37_a_server_that_rejects_every_token() {
    let (cache, control) = cache();
    control.answer_all();
    let rejecting = service_fn(async |_: Request<ReplayBody<Empty<Bytes>>>| {
        Ok::<_, Infallible>(Response::builder().status(401).body(()).unwrap())
    });
    let layer = BearerAuthLayer::new(cache.clone())
        .allow("https://api.example")
        .unwrap();
    let service = layer.layer(rejecting);
    let mut hours = Vec::new();
    for _ in 0..3 {
        let before = control.calls();
        for _ in 0..3600 * 4 {
            let request = Request::get("https://api.example/")
                .body(Empty::new())
                .unwrap();
            let response = service.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 401);
            control.advance(0.25);
        }
        hours.push(control.calls() - before);
    }
    // One more is the first token.
    assert!((14..=18).contains(&hours[0]), "{hours:?}");
    assert!(
        hours[1..].iter().all(|calls| (11..=12).contains(calls)),
        "{hours:?}"
    );
}

/// A number from the environment, for `scripts/long-tests`.
fn scale(name: &str, quick: u32) -> u32 {
    std::env::var(name).map_or(quick, |text| text.parse().expect("a number"))
}

#[tokio::test]
async fn g37_a_fleet_over_many_days_with_outages() {
    // Each cache by itself, from one instant of its need to the next; the fleet's fetches are put
    // together afterwards. Every third day the endpoint is down for five minutes.
    const DAY: u32 = 86_400;
    let (caches, days) = (scale("FLEET_CACHES", 60), scale("FLEET_DAYS", 7));
    let is_down = |at: f64| at > 300.0 && at % f64::from(3 * DAY) < 300.0;
    let end = f64::from(days * DAY);
    let mut per_minute = vec![0_u32; (days * DAY / 60) as usize + 1];
    for seed in 0..caches {
        let (builder, control) = scripted();
        let cache = builder.seed(seed.into()).build();
        let mut now = 0.0;
        while now < end {
            drop(task::spawn(cache.token()).poll());
            tokio::task::yield_now().await;
            if let Some(fetching) = control.asked_by_now() {
                per_minute[(now / 60.0) as usize] += 1;
                fetching.answer(if is_down(now) {
                    down(0)
                } else {
                    fresh(control.calls())
                });
                tokio::task::yield_now().await;
            }
            let status = cache.status();
            assert_ne!(status.phase, Phase::Refreshing);
            let next = status.next_try_in.or(status.due_in).unwrap_or_default();
            let next = next.as_secs_f64().max(0.1);
            control.advance(next);
            now += next;
            assert!(
                cache.peek().is_some(),
                "no outage of five minutes is noticed"
            );
        }
    }
    // A refresh every 2670 s to 2970 s, and a few tries more in the outages.
    let per_cache_and_day = f64::from(per_minute.iter().sum::<u32>()) / f64::from(caches * days);
    assert!(
        (29.0..34.0).contains(&per_cache_and_day),
        "{per_cache_and_day}"
    );
    // They all began in one minute. A day later their fetches are spread: 2 % of the fleet a minute on
    // average, or a few tries of a tenth of the fleet each in an outage.
    let busiest = per_minute[1440..].iter().max().copied().unwrap_or_default();
    assert!(
        f64::from(busiest) < 0.5 * f64::from(caches),
        "{busiest} in the busiest minute"
    );
}
