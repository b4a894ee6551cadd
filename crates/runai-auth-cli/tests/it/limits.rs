//! Limits on what callers may take up.

use runai_fake::RunaiFake;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use test_support::within;

use crate::support::{CLUSTERS, Proxy, get_with, raw};

#[tokio::test]
async fn more_requests_than_allowed_get_503_with_retry_after() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &["--max-requests", "1"]).await;
    let gate = fake.hold_api();
    let url = proxy.url(CLUSTERS);
    let held = tokio::spawn(async move { crate::support::get(&url).await });
    within(fake.wait_for(|journal| journal.iter().any(|it| it.path == CLUSTERS))).await;
    let answer = proxy.get(CLUSTERS).await;
    answer.expect(503, "busy");
    assert_eq!(answer.headers["retry-after"], "1");

    // The body of a refused request is drained, so its connection stays usable.
    let half = "x".repeat(100_000);
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let first = format!(
        "POST {CLUSTERS} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{half}",
        proxy.addr(),
        2 * half.len()
    );
    stream.write_all(first.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    within(stream.read_exact(&mut status)).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 503");
    let second = format!(
        "{half}GET {CLUSTERS} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        proxy.addr()
    );
    stream.write_all(second.as_bytes()).await.unwrap();
    let mut rest = String::new();
    within(stream.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.contains("HTTP/1.1 503"), "{rest}");

    gate.release();
    assert_eq!(within(held).await.unwrap().status, 200);
    assert_eq!(fake.api_requests(), 1);
    assert_eq!(proxy.get(CLUSTERS).await.status, 200);
}

#[tokio::test]
async fn a_large_head_is_refused() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &["--max-header-bytes", "16384"]).await;
    let fits = "x".repeat(10_000);
    let headers = [("x-large", fits.as_str())];
    assert_eq!(get_with(&proxy.url(CLUSTERS), &headers).await.status, 200);
    let asked = format!(
        "GET {CLUSTERS} HTTP/1.1\r\nHost: {}\r\nx-large: {}\r\n\r\n",
        proxy.addr(),
        "x".repeat(20_000)
    );
    let answer = raw(proxy.addr(), asked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(fake.api_requests(), 1);
}

#[tokio::test]
async fn a_head_that_takes_too_long_ends_the_connection() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &["--header-timeout", "50ms"]).await;
    let mut slow = TcpStream::connect(proxy.addr()).await.unwrap();
    slow.write_all(b"GET /api/v1/clusters HTTP/1.1\r\nHost:")
        .await
        .unwrap();
    assert_eq!(within(slow.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &["--idle-timeout", "50ms"]).await;
    let asked = format!("GET {CLUSTERS} HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.addr());
    // It ends though the caller would keep it.
    let answer = raw(proxy.addr(), asked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(raw(proxy.addr(), b"").await, "");
}

#[tokio::test]
async fn a_request_that_takes_long_is_not_idle() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let arguments = ["--idle-timeout", "20ms", "--header-timeout", "20ms"];
    let proxy = Proxy::of(&fake, &arguments).await;
    let delay = std::time::Duration::from_millis(300);
    fake.on_api(runai_fake::Behaviour::normal().delay(delay));
    assert_eq!(proxy.get(CLUSTERS).await.status, 200);
}

#[tokio::test]
async fn an_answer_is_seen_though_the_body_is_not_wanted() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &["--read-only"]).await;
    let half = "x".repeat(100_000);
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let asked = format!(
        "POST {CLUSTERS} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{half}",
        proxy.addr(),
        2 * half.len()
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    within(stream.read_exact(&mut status)).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 405");
    // The rest is read, and so is the next request.
    let next = format!(
        "{half}GET {CLUSTERS} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        proxy.addr()
    );
    stream.write_all(next.as_bytes()).await.unwrap();
    let mut rest = String::new();
    within(stream.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.contains("HTTP/1.1 200"), "{rest}");

    // A client that waits for `100 Continue` does not get it.
    let asked = format!(
        "POST {CLUSTERS} HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nConnection: close\r\n\
         Content-Length: 10\r\n\r\n",
        proxy.addr()
    );
    let answer = raw(proxy.addr(), asked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}
