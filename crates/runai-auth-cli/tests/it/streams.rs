//! Requests and answers, byte for byte.

use bytes::Bytes;
use http::Version;
use http_body_util::BodyExt;
use runai_fake::{Behaviour, Fault, RunaiFake};
use test_support::{Scratch, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    support::{CLUSTERS, Proxy, SUBMIT, client, get_with, h2c_client, raw, read, request, send},
    upstream::{TOKEN, Upstream},
};

const V1: [&str; 2] = ["--token-endpoint", "v1"];

#[tokio::test]
async fn bodies_of_any_size_come_through_unchanged() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::at(&upstream.url, &V1).await;
    for size in [0, 1, 65_535, 65_536, 65_537, 1 << 20] {
        let body: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        let url = proxy.url("/echo?a=%2F&b=c+d");
        // Without a body the client sends a length only if it is given one.
        let length = size.to_string();
        let headers = [("content-length", length.as_str())];
        let answer = send(request("POST", &url, &headers, body.clone())).await;
        assert_eq!(answer.status, 200, "{size}");
        assert_eq!(answer.body, body, "{size}");
        assert_eq!(answer.headers["x-method"], "POST");
        assert_eq!(answer.headers["x-uri"], "/echo?a=%2F&b=c+d");
        assert_eq!(answer.headers["x-length"], length.as_str());
    }
    let answer = proxy.get("/echo").await;
    assert_eq!(answer.headers["x-method"], "GET");
    assert!(!answer.headers.contains_key("x-length"));
}

#[tokio::test]
async fn chunks_and_trailers_come_through() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::at(&upstream.url, &V1).await;
    let asked = format!(
        "POST /echo HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
         Trailer: x-sum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 17\r\n\r\n",
        proxy.addr()
    );
    let answer = raw(proxy.addr(), asked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("x-sum: 17"), "{answer}");
    assert!(answer.ends_with("abcde"), "{answer}");
    assert!(!answer.contains("x-length"), "{answer}");

    let headers = [("te", "trailers"), ("connection", "te")];
    let answer = get_with(&proxy.url("/trailers"), &headers).await;
    assert_eq!(answer.body, "data");
    assert_eq!(answer.trailers.unwrap()["x-sum"], "42");

    let asked = request("GET", &proxy.url("/trailers"), &[], "");
    let answer = read(within(h2c_client().request(asked)).await.unwrap()).await;
    assert_eq!(answer.trailers.unwrap()["x-sum"], "42");
}

#[tokio::test]
async fn events_come_one_by_one() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::at(&upstream.url, &V1).await;
    let asked = request("GET", &proxy.url("/events"), &[], "");
    let mut events = within(client().request(asked)).await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    // The second is not sent before the first has been seen.
    let mut next = async || {
        let frame = within(events.body_mut().frame()).await.unwrap().unwrap();
        frame.into_data().unwrap()
    };
    assert_eq!(next().await, "data: 1\n\n");
    upstream.gate.notify_one();
    assert_eq!(next().await, "data: 2\n\n");
}

/// Asks for an upgrade; the stream, and the head of the answer.
pub(crate) async fn upgraded(proxy: &Proxy) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let asked = format!(
        "GET /upgrade HTTP/1.1\r\nHost: {}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: \
         websocket\r\n\r\n",
        proxy.addr()
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap().to_lowercase())
}

#[tokio::test]
async fn upgraded_connections_are_passed_both_ways() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::at(&upstream.url, &V1).await;
    let (mut stream, head) = upgraded(&proxy).await;
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("upgrade: websocket"), "{head}");
    assert!(head.contains("connection: upgrade"), "{head}");
    assert!(head.contains("sec-websocket-accept: x"), "{head}");
    for text in ["one", "two", &"x".repeat(100_000)] {
        let (mut receive, mut send) = stream.split();
        let mut echoed = vec![0; text.len()];
        let (sent, read) = tokio::join!(
            send.write_all(text.as_bytes()),
            within(receive.read_exact(&mut echoed))
        );
        sent.unwrap();
        read.unwrap();
        assert_eq!(echoed, text.as_bytes());
    }
    stream.shutdown().await.unwrap();
    assert_eq!(within(stream.read(&mut [0])).await.unwrap(), 0);

    // An upgrade to HTTP/2 is ignored: it is a request like any other.
    let headers = [("connection", "upgrade"), ("upgrade", "h2c")];
    let answer = get_with(&proxy.url("/upgrade"), &headers).await;
    assert_eq!(answer.status, 426);
}

#[tokio::test]
async fn http2_is_spoken_on_both_sides() {
    let fake = RunaiFake::builder().tls(true).start().await.unwrap();
    let scratch = Scratch::new();
    let ca = scratch.write("ca.pem", fake.ca_pem().unwrap());
    let proxy = Proxy::of(&fake, &["--ca-file", &ca]).await;
    let client = h2c_client();
    let asked: Vec<_> = (0..20)
        .map(|_| client.request(request("GET", &proxy.url(CLUSTERS), &[], "")))
        .collect();
    for answer in asked {
        let answer = within(answer).await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_2);
        assert_eq!(answer.status(), 200);
    }
    let journal = fake.journal();
    let calls = journal.iter().filter(|it| it.path == CLUSTERS);
    assert_eq!(calls.clone().count(), 20);
    assert!(calls.clone().all(|it| it.version == Version::HTTP_2));

    let body = Bytes::from(format!(r#"{{"name":"{}"}}"#, "x".repeat(1 << 20)));
    let asked = request("POST", &proxy.url(SUBMIT), &[], body.clone());
    let answer = read(within(client.request(asked)).await.unwrap()).await;
    assert_eq!(answer.status, 202);
    assert_eq!(
        answer.headers["x-received-bytes"],
        body.len().to_string().as_str()
    );
}

#[tokio::test]
async fn hop_by_hop_headers_stay_on_their_side() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &[]).await;
    let headers = [
        ("authorization", "Bearer the-callers-own"),
        ("cookie", "a=b"),
        ("connection", "x-mine"),
        ("x-mine", "1"),
        ("x-yours", "1"),
        ("proxy-authorization", "Basic x"),
        ("keep-alive", "timeout=5"),
        ("user-agent", "the-caller/1"),
    ];
    let answer = get_with(&proxy.url("/api/v1/clusters?x=1"), &headers).await;
    assert_eq!(answer.status, 200);
    let journal = fake.journal();
    let seen = journal.iter().find(|it| it.path == CLUSTERS).unwrap();
    assert_eq!(seen.query.as_deref(), Some("x=1"));
    assert_eq!(seen.generation, Some(1));
    for gone in ["cookie", "x-mine", "proxy-authorization", "keep-alive"] {
        assert!(!seen.headers.contains_key(gone), "{gone}");
    }
    assert_eq!(seen.headers["x-yours"], "1");
    assert_eq!(seen.headers["user-agent"], "the-caller/1");
    assert_eq!(seen.headers["host"], fake.addr().to_string().as_str());

    let upstream = Upstream::start().await;
    let proxy = Proxy::at(&upstream.url, &V1).await;
    let answer = proxy.get("/chatty").await;
    assert_eq!(answer.headers["x-yours"], "1");
    for gone in [
        "x-mine",
        "set-cookie",
        "access-control-allow-origin",
        "connection",
    ] {
        assert!(!answer.headers.contains_key(gone), "{gone}");
    }
}

#[tokio::test]
async fn locations_lead_back_to_the_proxy() {
    let upstream = Upstream::start().await;
    let scratch = Scratch::new();
    let key = scratch.write("key", "a-long-key-of-the-proxy\n");
    let mut arguments = V1.to_vec();
    arguments.extend(["--inbound-key-file", &key]);
    let proxy = Proxy::at(&upstream.url, &arguments).await;
    let found = async |path: &str| {
        let headers = [("x-runai-auth-key", "a-long-key-of-the-proxy")];
        let answer = get_with(&proxy.url(path), &headers).await;
        assert_eq!(answer.status, 302);
        let location = answer.headers["location"].to_str().unwrap().to_owned();
        // The location holds no token.
        assert!(!location.contains(TOKEN));
        location
    };
    assert_eq!(found("/moved").await, proxy.url("/api/x?a=b"));
    let below = found("/a-long-key-of-the-proxy/moved").await;
    assert_eq!(below, proxy.url("/a-long-key-of-the-proxy/api/x?a=b"));
    assert_eq!(found("/moved-away").await, "https://store.example/x");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_as_whole() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &["--admin-listen", "127.0.0.1:0"]).await;
    for fault in [Fault::Truncate(10), Fault::ResetAfter(10)] {
        fake.on_api(Behaviour::fault(fault));
        let asked = request("GET", &proxy.url(CLUSTERS), &[], "");
        let broken = match within(client().request(asked)).await {
            Ok(answer) => within(answer.into_body().collect()).await.is_err(),
            Err(_) => true,
        };
        assert!(broken, "{fault:?}");
    }
    let metrics = get_with(&proxy.named_url("admin", "/metrics"), &[]).await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let errors = "\nrunai_auth_proxy_upstream_errors_total 2\n";
    assert!(text.contains(errors), "{text}");
}

#[tokio::test]
async fn a_head_has_no_body_and_keeps_its_length() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &[]).await;
    let length = proxy.get("/the-ui").await.body.len();
    let answer = send(request("HEAD", &proxy.url("/the-ui"), &[], "")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, "");
    assert_eq!(
        answer.headers["content-length"],
        length.to_string().as_str()
    );
}
