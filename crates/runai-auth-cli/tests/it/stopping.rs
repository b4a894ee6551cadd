//! Signals.

use runai_fake::RunaiFake;
use test_support::{Scratch, Signal, wait_for, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    streams::upgraded,
    support::{CLUSTERS, Proxy, client, command, get, read, request},
    upstream::Upstream,
};

/// Waits until new connections are refused.
async fn stopping(proxy: &Proxy) {
    wait_for("the proxy stops accepting", async || {
        TcpStream::connect(proxy.addr()).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn requests_in_flight_are_finished() {
    for signal in [Signal::TERM, Signal::INT] {
        let fake = RunaiFake::builder().start().await.unwrap();
        let mut proxy = Proxy::of(&fake, &["--admin-listen", "127.0.0.1:0"]).await;
        let gate = fake.hold_api();
        let url = proxy.url(CLUSTERS);
        let held = tokio::spawn(async move { get(&url).await });
        within(fake.wait_for(|journal| journal.iter().any(|it| it.path == CLUSTERS))).await;

        proxy.signal(signal);
        stopping(&proxy).await;
        let ready = get(&proxy.named_url("admin", "/readyz")).await;
        assert_eq!(ready.status, 503);
        assert_eq!(ready.json()["reason"], "the proxy is stopping");
        assert!(proxy.program.runs());
        gate.release();
        let answer = within(held).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["connection"], "close");
        assert_eq!(proxy.end().await.code(), 0);
    }
}

#[tokio::test]
async fn a_request_on_a_connection_that_is_kept_is_still_answered() {
    let fake = RunaiFake::builder().start().await.unwrap();
    // A sixtieth of it is how long the second may be on its way.
    let proxy = Proxy::of(&fake, &["--grace", "5m"]).await;
    let mut kept = TcpStream::connect(proxy.addr()).await.unwrap();
    let asked = format!("GET {CLUSTERS} HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.addr());
    kept.write_all(asked.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    within(kept.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    // The second comes when the first has been answered and the proxy is stopping.
    proxy.signal(Signal::TERM);
    stopping(&proxy).await;
    kept.write_all(asked.as_bytes()).await.unwrap();
    let mut rest = String::new();
    within(kept.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.contains("HTTP/1.1 200"), "{rest}");
    assert!(rest.contains("connection: close"), "{rest}");
    assert_eq!(proxy.end().await.code(), 0);
}

#[tokio::test]
async fn streams_and_upgraded_connections_are_finished() {
    let upstream = Upstream::start().await;
    let mut proxy = Proxy::at(&upstream.url, &["--token-endpoint", "v1"]).await;
    let (mut tunnel, _) = upgraded(&proxy).await;
    let asked = request("GET", &proxy.url("/events"), &[], "");
    // It is in flight when its head is here; the gate is what it waits for.
    let events = within(client().request(asked)).await.unwrap();
    proxy.signal(Signal::TERM);
    stopping(&proxy).await;
    tunnel.write_all(b"still here").await.unwrap();
    let mut echoed = [0; 10];
    within(tunnel.read_exact(&mut echoed)).await.unwrap();
    assert_eq!(&echoed, b"still here");
    assert!(proxy.program.runs());
    upstream.gate.notify_one();
    let events = read(events).await;
    assert_eq!(events.body, "data: 1\n\ndata: 2\n\n");
    drop(tunnel);
    assert_eq!(proxy.end().await.code(), 0);
}

#[tokio::test]
async fn the_grace_has_an_end() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &["--grace", "100ms"]).await;
    let _gate = fake.hold_api();
    let mut held = TcpStream::connect(proxy.addr()).await.unwrap();
    let asked = format!("GET {CLUSTERS} HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.addr());
    held.write_all(asked.as_bytes()).await.unwrap();
    within(fake.wait_for(|journal| journal.iter().any(|it| it.path == CLUSTERS))).await;
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.end().await.code(), 0);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let mut proxy = Proxy::of(&fake, &["--grace", "1h"]).await;
    let _gate = fake.hold_api();
    let mut held = TcpStream::connect(proxy.addr()).await.unwrap();
    let asked = format!("GET {CLUSTERS} HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.addr());
    held.write_all(asked.as_bytes()).await.unwrap();
    within(fake.wait_for(|journal| journal.iter().any(|it| it.path == CLUSTERS))).await;
    proxy.signal(Signal::TERM);
    stopping(&proxy).await;
    assert!(proxy.program.runs());
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.end().await.code(), 143);
}

#[tokio::test]
async fn a_hangup_refreshes_the_token_with_the_current_secret() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let scratch = Scratch::new();
    let file = scratch.write("secret", "test-secret\n");
    let command = command(&["proxy", "--listen", "127.0.0.1:0"])
        .var("RUNAI_BASE_URL", fake.url())
        .var("RUNAI_CLIENT_ID", "test-app")
        .var("RUNAI_CLIENT_SECRET_FILE", &file);
    let proxy = Proxy::start(command).await;
    assert!(fake.rotate_secret("test-app", "the-next-secret"));
    scratch.write("secret", "the-next-secret\n");
    fake.clear_journal();
    // Right after the start the first token is still the answer.
    wait_for("a token for the new secret", async || {
        proxy.signal(Signal::HUP);
        let journal = fake.journal();
        journal
            .iter()
            .any(|it| it.path.ends_with("/token") && it.status == Some(200))
    })
    .await;
    wait_for("the second token is in use", async || {
        assert_eq!(proxy.get(CLUSTERS).await.status, 200);
        fake.journal()
            .last()
            .is_some_and(|it| it.generation == Some(2))
    })
    .await;
}
