//! The metrics of the `metrics` facade.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower::{Layer, ServiceExt, service_fn};
use tower_bearer::{BearerAuthLayer, BoxError, ReplayBody, SourceError, Token};

use crate::support::{scripted, settle};

#[test]
fn f14_each_metric_has_its_documented_name_and_labels() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let (builder, control) = scripted();
            let cache = builder.name("ci").build();
            control.fill(&cache, "t1").await;
            control.advance(2971.0);
            cache.token().await.unwrap();
            control
                .asked()
                .await
                .answer(Err(SourceError::transient("down")));
            settle().await;
            control.advance(1.0);
            let rejecter = tokio::spawn(cache.reject(&cache.peek().unwrap()));
            control.asked().await.token("t2");
            rejecter.await.unwrap().unwrap();

            // Two requests whose token is rejected: one is sent again, with a token of unknown
            // lifetime, and one cannot be.
            let layer = BearerAuthLayer::new(cache)
                .allow("https://api.example")
                .unwrap();
            let statuses = Arc::new(Mutex::new(VecDeque::from([401, 200, 401])));
            let api = service_fn(move |request: Request<ReplayBody<Full<Bytes>>>| {
                let status = statuses.lock().unwrap().pop_front().unwrap();
                async move {
                    request.into_body().collect().await?;
                    let response = Response::builder().status(status).body(()).unwrap();
                    Ok::<_, BoxError>(response)
                }
            });
            let service = layer.replay_limit(4).layer(api);
            let send = |body: &'static str| {
                let request = Request::post("https://api.example/")
                    .body(Full::from(body))
                    .unwrap();
                tokio::spawn(service.clone().oneshot(request))
            };
            let retried = send("tiny");
            control.asked().await.answer(Ok(Token::new("t3").unwrap()));
            assert_eq!(retried.await.unwrap().unwrap().status(), 200);
            control.advance(5.0);
            let refused = send("not so tiny");
            control.asked().await.token("t4");
            assert_eq!(refused.await.unwrap().unwrap().status(), 401);
            settle().await;
        });
    });
    let measured: BTreeMap<String, f64> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let key = key.key();
            let labels: Vec<_> = key
                .labels()
                .map(|it| format!("{}={}", it.key(), it.value()))
                .collect();
            let value = match value {
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(value) => value.0,
                DebugValue::Histogram(values) => values.len() as f64,
            };
            (format!("{}{{{}}}", key.name(), labels.join(",")), value)
        })
        .collect();
    let expected = [
        ("tower_bearer_authenticated{cache=ci}", 1.0),
        ("tower_bearer_fetches_total{cache=ci,reason=ahead}", 1.0),
        ("tower_bearer_fetches_total{cache=ci,reason=initial}", 1.0),
        ("tower_bearer_fetches_total{cache=ci,reason=rejected}", 3.0),
        ("tower_bearer_refresh_duration_seconds{cache=ci}", 5.0),
        (
            "tower_bearer_refreshes_total{cache=ci,reason=ahead,outcome=failed}",
            1.0,
        ),
        (
            "tower_bearer_refreshes_total{cache=ci,reason=initial,outcome=refreshed}",
            1.0,
        ),
        (
            "tower_bearer_refreshes_total{cache=ci,reason=rejected,outcome=refreshed}",
            3.0,
        ),
        ("tower_bearer_rejections_total{cache=ci}", 3.0),
        (
            "tower_bearer_replays_refused_total{cache=ci,why=too_large}",
            1.0,
        ),
        ("tower_bearer_retries_total{cache=ci}", 1.0),
        ("tower_bearer_served_due_total{cache=ci}", 1.0),
        // 2030-01-01T00:00:00Z, 2977 s later, and 3570 s on.
        (
            "tower_bearer_token_expiry_timestamp_seconds{cache=ci}",
            1_893_456_000.0 + 2977.0 + 3570.0,
        ),
        ("tower_bearer_unknown_lifetimes_total{cache=ci}", 1.0),
        ("tower_bearer_waits_total{cache=ci}", 3.0),
    ];
    let expected: BTreeMap<_, _> = expected
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    assert_eq!(measured, expected);
}
