//! Connections that break, end early, or stay silent.

use std::{io::ErrorKind, time::Duration};

use runai_fake::{Behaviour, Fault, RunaiFake};
use serde_json::json;
use test_support::within;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::client::{Client, ID, SECRET, start};

async fn start_tls() -> RunaiFake {
    let builder = RunaiFake::builder().application(ID, SECRET).tls(true);
    builder.start().await.expect("a port is free")
}

/// What a bare socket sees: the bytes, and how the connection ended.
async fn raw(fake: &RunaiFake) -> (Vec<u8>, Result<usize, ErrorKind>) {
    let mut stream = TcpStream::connect(fake.addr()).await.expect("it listens");
    let request = b"GET /api/v1/clusters HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.expect("it reads");
    let mut seen = Vec::new();
    let end = within(stream.read_to_end(&mut seen)).await;
    (seen, end.map_err(|error| error.kind()))
}

/// An answer of ten bytes, with that fault.
fn ten_bytes(fault: Fault) -> Behaviour {
    let behaviour = json!({
        "status": 200,
        "content_type": "application/json",
        "body": "0123456789",
        "fault": fault,
    });
    serde_json::from_value(behaviour).expect("it is a behaviour")
}

fn body(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    &answer[end.expect("the head has an end") + 4..]
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let fake = start().await;
    fake.on_api(Behaviour::fault(Fault::Reset));
    assert_eq!(
        raw(&fake).await,
        (Vec::new(), Err(ErrorKind::ConnectionReset))
    );
    assert_eq!(fake.journal()[0].status, None);
    for client in [Client::new(&fake), Client::h2(&fake)] {
        fake.on_token(Behaviour::fault(Fault::Reset));
        let answer = client.send("POST", "/api/v1/token", &[], "{}").await;
        assert!(!answer.expect_err("there is none").is_connect());
        // The next connection is a new one.
        assert_eq!(client.ask(SECRET).await.status, 200);
    }
}

#[tokio::test]
async fn a_reset_works_below_tls() {
    let fake = start_tls().await;
    let client = Client::new(&fake);
    fake.on_token(Behaviour::fault(Fault::Reset));
    let answer = client.send("POST", "/api/v1/token", &[], "{}").await;
    assert!(!answer.expect_err("there is none").is_connect());
    assert_eq!(client.ask(SECRET).await.status, 200);
}

/// Many times, and on many threads: the bytes before the reset must not be lost with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reset_comes_after_so_many_bytes() {
    let fake = start().await;
    for _ in 0..200 {
        fake.on_api(ten_bytes(Fault::ResetAfter(4)));
        let (seen, end) = raw(&fake).await;
        assert_eq!(end, Err(ErrorKind::ConnectionReset));
        assert!(seen.starts_with(b"HTTP/1.1 200 OK\r\n"), "the head is lost");
        // The length is not announced, so the four bytes come as a chunk.
        assert_eq!(String::from_utf8_lossy(body(&seen)), "4\r\n0123\r\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reset_after_some_bytes_works_over_h2_and_tls() {
    let (plain, tls) = (start().await, start_tls().await);
    for fake in [plain, tls] {
        // An h2 client writes of its own accord, acknowledgements say. Where such a write meets the reset
        // first, the client gives up what it had received already, and that is not the fake's doing.
        let mut whole = 0;
        for _ in 0..50 {
            let client = Client::h2(&fake);
            fake.on_api(ten_bytes(Fault::ResetAfter(4)));
            let answer = client.send("GET", "/api/v1/clusters", &[], "").await;
            if let Ok(answer) = answer {
                assert!(!answer.complete);
                assert!("0123".starts_with(&*String::from_utf8_lossy(&answer.body)));
                whole += usize::from(answer.body == "0123");
            }
        }
        assert!(whole > 0, "none of 50 over {}", fake.url());
    }
}

/// Where there is nothing of the body to wait for, the head must still have left.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fault_before_the_first_byte_leaves_the_head() {
    let fake = start().await;
    for _ in 0..100 {
        for fault in [Fault::ResetAfter(0), Fault::Truncate(0)] {
            fake.on_api(ten_bytes(fault));
            let (seen, _end) = raw(&fake).await;
            assert!(seen.starts_with(b"HTTP/1.1 200 OK\r\n"), "{fault:?}");
            assert_eq!(body(&seen), b"", "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_truncated_body_is_shorter_than_announced() {
    let fake = start().await;
    fake.on_api(ten_bytes(Fault::Truncate(4)));
    let (seen, end) = raw(&fake).await;
    assert!(
        end.is_ok(),
        "the connection ends, it does not break: {end:?}"
    );
    assert_eq!(body(&seen), b"0123");
    let head = String::from_utf8_lossy(&seen).to_lowercase();
    assert!(head.contains("content-length: 10\r\n"), "{head}");
    for client in [Client::new(&fake), Client::h2(&fake)] {
        fake.on_api(ten_bytes(Fault::Truncate(4)));
        let answer = client.send("GET", "/api/v1/clusters", &[], "").await;
        let answer = answer.expect("the head comes");
        assert_eq!(answer.header("content-length"), "10");
        assert_eq!((&answer.body[..], answer.complete), (&b"0123"[..], false));
    }
}

#[tokio::test]
async fn silence_is_silence() {
    let fake = start().await;
    for client in [Client::new(&fake), Client::h2(&fake)] {
        fake.clear_journal();
        fake.on_token(Behaviour::fault(Fault::Silence));
        let silent = tokio::spawn({
            let client = client.clone();
            async move { client.ask(SECRET).await }
        });
        within(fake.wait_for(|journal| journal.iter().any(|it| it.body_complete))).await;
        assert_eq!(client.ask(SECRET).await.status, 200, "others are answered");
        assert!(!silent.is_finished());
        assert_eq!(fake.journal()[0].status, None);
        silent.abort();
    }
}

#[tokio::test]
async fn silence_may_follow_the_head() {
    let fake = start().await;
    fake.on_api(Behaviour::fault(Fault::SilenceAfterHeaders));
    let mut stream = TcpStream::connect(fake.addr()).await.expect("it listens");
    let request = b"GET /api/v1/clusters HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.expect("it reads");
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        within(stream.read_exact(&mut byte))
            .await
            .expect("the head comes");
        seen.push(byte[0]);
    }
    // The end comes next, and only because the fake stops.
    within(fake.shutdown()).await;
    let mut rest = Vec::new();
    let _end = within(stream.read_to_end(&mut rest)).await;
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

#[tokio::test]
async fn it_stops_on_shutdown_and_when_dropped() {
    let fake = start().await;
    let addr = fake.addr();
    let mut stream = TcpStream::connect(addr).await.expect("it listens");
    within(fake.shutdown()).await;
    assert!(TcpStream::connect(addr).await.is_err());
    let mut rest = Vec::new();
    let _end = within(stream.read_to_end(&mut rest)).await;

    let fake = start().await;
    let (addr, clone) = (fake.addr(), fake.clone());
    drop(fake);
    assert!(
        TcpStream::connect(addr).await.is_ok(),
        "a clone keeps it up"
    );
    let mut stream = TcpStream::connect(addr).await.expect("it listens");
    drop(clone);
    let _end = within(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_a_thousand_at_once() {
    let fake = start().await;
    let token = Client::new(&fake).token().await;
    let gate = fake.hold_api_requests(1000);
    let asking: Vec<_> = (0..1000)
        .map(|_| {
            let (client, token) = (Client::new(&fake), token.clone());
            tokio::spawn(async move { client.clusters(&token).await })
        })
        .collect();
    let patience = Duration::from_secs(60);
    let reached = tokio::time::timeout(patience, gate.reached_by(1000)).await;
    assert!(reached.is_ok(), "all thousand are held");
    gate.release();
    for answer in asking {
        assert_eq!(answer.await.expect("it does not panic"), 200);
    }
    assert_eq!(fake.api_requests(), 1000);
}
