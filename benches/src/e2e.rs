//! Whole requests over loopback: a hyper client with HTTP/2, and large uploads.

use std::{convert::Infallible, net::Ipv4Addr, time::Instant};

use benches::{
    paired::ratios,
    stacks,
    stats::{median, middle},
    upload::Uploads,
    workload::{Body, request_with, token},
};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpListener, runtime::Runtime, task::JoinSet};
use tower_bearer::{BearerAuthLayer, ReplayBody};
use tower_layer::Layer;
use tower_service::Service;

use crate::report::{Report, Value};

/// Lots of each in a round, in alternation; the one in the middle counts.
const LOTS: usize = 3;

/// Requests that are under way at a time.
const AT_A_TIME: usize = 32;

async fn server() -> std::io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(
                TokioIo::new(stream),
                service_fn(|_: Request<Incoming>| async {
                    Ok::<_, Infallible>(Response::new(Body::new()))
                }),
            ));
        }
    });
    Ok(url)
}

/// Sends requests through clones of a service; the time that all took, in seconds.
async fn load<S>(service: &S, uri: &Uri, by_hand: Option<&HeaderValue>, requests: usize) -> f64
where
    S: Service<Request<Body>, Response = Response<Incoming>> + Clone + Send + 'static,
    S::Error: std::fmt::Debug + Send,
    S::Future: Send,
{
    let began = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (service, uri) = (service.clone(), uri.clone());
        let by_hand = by_hand.cloned();
        all.spawn(async move {
            for _ in 0..requests / AT_A_TIME {
                let mut service = service.clone();
                let mut request = request_with(Body::new());
                request.headers_mut().remove(http::header::HOST);
                *request.uri_mut() = uri.clone();
                if let Some(header) = &by_hand {
                    let header = header.clone();
                    request
                        .headers_mut()
                        .insert(http::header::AUTHORIZATION, header);
                }
                let ready = std::future::poll_fn(|cx| service.poll_ready(cx)).await;
                ready.expect("ready");
                let response = service.call(request).await.expect("an answer");
                assert_eq!(response.status(), StatusCode::OK);
                response.into_body().collect().await.expect("a body");
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done.expect("no panic");
    }
    began.elapsed().as_secs_f64()
}

pub fn requests(report: &mut Report, runtime: &Runtime, rounds: usize, per_round: usize) {
    let cache = stacks::cache(runtime);
    runtime.block_on(async {
        let url = server().await.expect("a server");
        let uri: Uri = format!("{url}/api/v1/clusters").parse().expect("a URL");
        let mut builder = Client::builder(TokioExecutor::new());
        let builder = builder.http2_only(true);
        let bare = builder.build_http::<Body>();
        let with = BearerAuthLayer::new(cache)
            .allow(&url)
            .expect("an origin")
            .layer(builder.build_http::<ReplayBody<Body>>());
        // The same token, written by hand: what it costs on the wire is not the layer's. It is sensitive
        // too, since h2 compresses a header that is not.
        let mut header = HeaderValue::try_from(format!("Bearer {}", token())).expect("a header");
        header.set_sensitive(true);
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..=rounds {
            let mut seen = [const { Vec::new() }; 3];
            for place in 0..3 * LOTS {
                let which = (place + round) % 3;
                seen[which].push(match which {
                    0 => load(&bare, &uri, None, per_round).await,
                    1 => load(&bare, &uri, Some(&header), per_round).await,
                    _ => load(&with, &uri, None, per_round).await,
                });
            }
            // The first round connects.
            if round > 0 {
                for (times, seen) in times.iter_mut().zip(seen) {
                    times.push(middle(&seen));
                }
            }
        }
        let [none, by_hand, with] = times;
        let rate = |times: &[f64]| per_round as f64 / middle(times);
        report.note(format!(
            "h2 over loopback, requests a second: {:.0} with no token at all, {:.0} with the token written by hand, {:.0} with the layer.",
            rate(&none),
            rate(&by_hand),
            rate(&with)
        ));
        // Throughput is the inverse of time.
        let ratio = |floor: &[f64]| Value::Measured(median(&ratios(floor, &with)));
        report.put("e2e_throughput_vs_bare", ratio(&by_hand));
        report.put("e2e_throughput_vs_no_token", ratio(&none));
    });
}

pub fn uploads(report: &mut Report, runtime: &Runtime, rounds: usize, mebibytes: usize) {
    let cache = stacks::cache(runtime);
    runtime.block_on(async {
        let mut uploads = Uploads::new(cache).await.expect("a server");
        let (mut times, mut floor) = (Vec::new(), Vec::new());
        uploads.bare(mebibytes.min(64), || {}).await;
        uploads.with(mebibytes.min(64), || {}).await;
        for round in 0..rounds {
            let mut seen = [const { Vec::new() }; 2];
            for half in 0..2 * LOTS {
                let which = (round + half) % 2;
                let began = Instant::now();
                match which {
                    0 => uploads.bare(mebibytes, || {}).await,
                    _ => uploads.with(mebibytes, || {}).await,
                }
                seen[which].push(began.elapsed().as_secs_f64());
            }
            let [bare, with] = seen;
            floor.push(middle(&bare));
            times.push(middle(&with));
        }
        let rate = mebibytes as f64 / middle(&floor);
        report.note(format!(
            "Uploads of {mebibytes} MiB, {rounds} rounds: {rate:.0} MiB/s without the layer."
        ));
        let ratio = median(&ratios(&floor, &times));
        report.put("upload_1gib_throughput_vs_bare", Value::Measured(ratio));
    });
}
