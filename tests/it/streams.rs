//! Upgrades and event streams: a rejection at their start is retried, and a running one is left alone.

use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use runai_fake::Behaviour;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{Layer, ServiceExt};

use crate::support::{CLUSTERS, setup};

/// Reads a request's head.
async fn head(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(read).unwrap()
}

/// A server that rejects the first request and answers the second with `answer`, then echoes what comes.
async fn rejecting_once(answer: &'static str) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let first = head(&mut stream).await;
        let no = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(no).await.unwrap();
        let second = head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut word = [0; 5];
        while stream.read_exact(&mut word).await.is_ok() {
            stream.write_all(&word).await.unwrap();
        }
        vec![first, second]
    });
    (url, served)
}

#[tokio::test]
async fn d26_an_upgrade_that_is_rejected_at_the_handshake_is_retried() {
    let setup = setup().await;
    let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let (url, served) = rejecting_once(answer).await;
    let layer = setup.auth.layer().allow(&url).unwrap();
    let api = layer.layer(setup.api.get_ref().clone());
    let request = Request::get(format!("{url}/shell"))
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = api.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let mut upgraded = hyper_util::rt::TokioIo::new(upgraded);
    for word in [b"hello", b"again"] {
        upgraded.write_all(word).await.unwrap();
        let mut echo = [0; 5];
        upgraded.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, word);
        // The token expires in mid-stream, which changes nothing.
        setup.advance(7200);
    }
    drop(upgraded);
    let heads = served.await.unwrap();
    let authorization = |head: &String| {
        let line = head
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with("authorization:"));
        line.unwrap().to_owned()
    };
    assert_ne!(authorization(&heads[0]), authorization(&heads[1]));
    assert_eq!(setup.fake.token_requests(), 2);
}

#[tokio::test]
async fn d26_an_event_stream_outlives_its_token() {
    let setup = setup().await;
    setup.get(CLUSTERS).await.unwrap();
    setup.fake.revoke_all();
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: one\n\n";
    let (url, served) = rejecting_once(answer).await;
    let layer = setup.auth.layer().allow(&url).unwrap();
    let api = layer.layer(setup.api.get_ref().clone());
    let request = Request::get(format!("{url}/events"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = api.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut events = response.into_body();
    let first = events.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "data: one\n\n");
    let fetches = setup.fake.token_requests();
    setup.advance(7200);
    setup.fake.always_on_token(Some(Behaviour::status(503)));
    tokio::task::yield_now().await;
    assert_eq!(
        setup.fake.token_requests(),
        fetches,
        "the stream asks for none"
    );
    drop(events);
    assert_eq!(served.await.unwrap().len(), 2);
}
