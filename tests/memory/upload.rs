//! Large uploads and many rejections: what stays in memory, and what stays open.

use std::{convert::Infallible, net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use runai_auth::{
    ReplayBody,
    tower_bearer::{BearerAuthLayer, Token, TokenCache, clock::ManualClock, source_fn},
};
use runai_fake::RunaiFake;
use stats_alloc::Region;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tower::{Layer, ServiceExt};

use crate::{ALLOCATOR, ALONE};

const PIECE: usize = 64 * 1024;
const MIB: usize = 1024 * 1024;

/// A server that reads chunked uploads to their end and says how long the last one was, framing included.
async fn sink() -> (String, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; PIECE];
        let (mut read, mut end) = (0, Vec::new());
        while !end.ends_with(b"\r\n0\r\n\r\n") {
            let len = stream.read(&mut buffer).await.unwrap();
            assert!(len > 0, "the upload broke off");
            read += len;
            end.extend_from_slice(&buffer[len.saturating_sub(7)..len]);
            end.drain(..end.len().saturating_sub(7));
        }
        let yes = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(yes).await.unwrap();
        read
    });
    (url, served)
}

fn cache() -> TokenCache {
    TokenCache::new(source_fn(|_| async {
        Ok(Token::new("t1")?.expires_in(Duration::from_secs(3600)))
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_of_a_gibibyte_holds_no_more_than_a_mebibyte() {
    let _alone = ALONE.lock().await;
    let cache = cache();
    cache.token().await.unwrap();
    let (url, served) = sink().await;
    let client = Client::builder(TokioExecutor::new()).build_http::<ReplayBody<_>>();
    let api = BearerAuthLayer::new(cache)
        .allow(&url)
        .unwrap()
        .layer(client);
    let piece = Bytes::from(vec![7; PIECE]);
    let pieces = 1024 * MIB / PIECE;
    let region = Region::new(ALLOCATOR);
    let peak = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let highest = peak.clone();
    let frames = (0..pieces).map(move |_| {
        let change = region.change();
        let live = change
            .bytes_allocated
            .saturating_sub(change.bytes_deallocated);
        highest.fetch_max(live, std::sync::atomic::Ordering::Relaxed);
        Ok::<_, Infallible>(Frame::data(piece.clone()))
    });
    let request = Request::post(format!("{url}/upload"))
        .body(StreamBody::new(stream::iter(frames)))
        .unwrap();
    let response = api.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(served.await.unwrap() > 1024 * MIB);
    let peak = peak.load(std::sync::atomic::Ordering::Relaxed);
    println!("an upload of 1 GiB: {peak} bytes of live memory at most");
    assert!(peak <= MIB, "{peak}");
}

#[tokio::test]
async fn d19_ten_thousand_rejections_leave_nothing_behind() {
    let _alone = ALONE.lock().await;
    for tls in [false, true] {
        let fake = RunaiFake::builder().tls(tls).start().await.unwrap();
        let mut plane = runai_auth::ControlPlane::new(fake.url()).unwrap();
        if let Some(pem) = fake.ca_pem() {
            plane = plane.root_certificates_pem(pem.as_bytes()).unwrap();
        }
        let clock = ManualClock::new();
        let ticking = clock.clone();
        let credentials = runai_auth::Credentials::client("test-app", "test-secret");
        let auth = plane.authenticate_with(credentials, |cache| cache.clock(ticking));
        let api: runai_auth::Client<Full<Bytes>> = auth.client().unwrap();
        let url = auth.url("/api/v1/clusters").unwrap();
        fake.always_on_api(Some(runai_fake::Behaviour::status(401)));
        let mut connections = std::collections::HashSet::new();
        let mut live = Vec::new();
        let region = Region::new(ALLOCATOR);
        for _ in 0..10 {
            for _ in 0..1000 {
                let body = Full::from("{\"name\":\"w\"}");
                let request = Request::post(url.clone()).body(body).unwrap();
                let response = api.clone().oneshot(request).await.unwrap();
                assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
                response.into_body().collect().await.unwrap();
            }
            connections.extend(fake.journal().iter().map(|it| it.connection));
            fake.clear_journal();
            clock.advance(Duration::from_secs(60));
            let change = region.change();
            live.push(
                change
                    .bytes_allocated
                    .saturating_sub(change.bytes_deallocated),
            );
        }
        let counts = auth.status().counts;
        println!(
            "10,000 rejections, tls {tls}: {} connections, {} fetches, live bytes by thousand: {live:?}",
            connections.len(),
            counts.fetches
        );
        assert!(connections.len() <= 2, "{}", connections.len());
        assert!(counts.fetches <= 20, "{}", counts.fetches);
        // The fake remembers each token that it issued; nothing else may grow.
        let grown = live[9].saturating_sub(live[1]);
        assert!(grown <= 64 * 1024, "{live:?}");
    }
}
