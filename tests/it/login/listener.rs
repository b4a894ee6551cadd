//! What the listener on loopback does with requests that it does not wait for.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_util::{client::legacy::Client as Hyper, rt::TokioExecutor};
use runai_auth::{BrowserLogin, LoginErrorKind, TokenEndpoint};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Finishing, control_plane, fake, open, parameter, redirect, request, start, waiting};

/// What all ends with.
async fn ends_well(finishing: Finishing, redirect: &str) {
    assert_eq!(open(redirect).await.status, StatusCode::OK);
    finishing.await.unwrap().unwrap();
}

fn port(redirect_uri: &str) -> u16 {
    let uri: Uri = redirect_uri.parse().unwrap();
    uri.port_u16().unwrap()
}

#[tokio::test]
async fn a_forged_redirect_neither_ends_the_login_nor_brings_a_code() {
    let fake = fake().await;
    let (finishing, back) = waiting(&fake).await;
    let (place, _) = back.split_once('?').unwrap();
    let state = parameter(&back, "state").unwrap();
    for query in [
        String::new(),
        "?code=forged".into(),
        "?code=forged&state=forged".into(),
        "?error=access_denied&state=forged".into(),
        format!("?code=forged&state={state}&state=forged"),
        format!("?code=forged&state={}", &state[..42]),
        format!("?state={state}"),
    ] {
        let page = open(&format!("{place}{query}")).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(!page.body.contains("forged"), "{}", page.body);
    }
    assert_eq!(fake.secret_bearing_requests(), 0);
    ends_well(finishing, &back).await;
}

#[tokio::test]
async fn other_paths_methods_and_hosts_do_not_end_it() {
    let fake = fake().await;
    let (finishing, back) = waiting(&fake).await;
    let port = port(&back);
    let favicon = open(&format!("http://127.0.0.1:{port}/favicon.ico")).await;
    assert_eq!(favicon.status, StatusCode::NOT_FOUND);
    let elsewhere = back.replace("/callback", "/callback/");
    assert_eq!(open(&elsewhere).await.status, StatusCode::NOT_FOUND);
    let posted = request(Request::post(&back)).await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    for host in [
        format!("localhost:{port}"),
        format!("evil.example:{port}"),
        "127.0.0.1".into(),
    ] {
        let page = request(Request::get(&back).header(header::HOST, &host)).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{host}");
    }
    // Both names at once, and a whole URL in the request line.
    let path = back.split_once("/callback").unwrap().1;
    for head in [
        format!("GET /callback{path} HTTP/1.1\r\n"),
        format!("GET /callback{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil.example\r\n"),
        format!("GET http://evil.example/callback{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"),
    ] {
        let answer = raw(port, &format!("{head}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{head}: {answer}");
    }
    ends_well(finishing, &back).await;
}

/// Sends bytes, and reads until the connection ends.
async fn raw(port: u16, text: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // A client that is cut off may notice while it writes.
    let _cut = stream.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    let _cut = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_head_that_is_too_long_is_cut_off() {
    let fake = fake().await;
    let (finishing, back) = waiting(&fake).await;
    let port = port(&back);
    let path = back.split_once("/callback").unwrap().1;
    for (len, status) in [(20 * 1024, "431"), (8 * 1024, "200")] {
        let answer = raw(
            port,
            &format!(
                "GET /callback{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX: {}\r\n\r\n",
                "x".repeat(len)
            ),
        )
        .await;
        assert_eq!(answer.get(9..12).unwrap_or("431"), status, "{answer}");
    }
    finishing.await.unwrap().unwrap();
}

#[tokio::test]
async fn more_than_sixteen_connections_are_cut_off() {
    let fake = fake().await;
    let (finishing, back) = waiting(&fake).await;
    let address = ("127.0.0.1", port(&back));
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let mut one_more = TcpStream::connect(address).await.unwrap();
    // At once, and not only as one that is slow.
    let mut byte = [0];
    let cut = timeout(Duration::from_secs(5), one_more.read(&mut byte)).await;
    assert_eq!(cut.unwrap().unwrap_or(0), 0);
    // Where one has gone there is room for another.
    drop(idle.pop());
    let http = Hyper::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    loop {
        let request = Request::get(&back).body(Full::<Bytes>::default()).unwrap();
        match http.request(request).await {
            Ok(response) => break assert_eq!(response.status(), StatusCode::OK),
            Err(_) => tokio::task::yield_now().await,
        }
    }
    finishing.await.unwrap().unwrap();
}

#[tokio::test]
async fn dropping_a_login_closes_its_port() {
    let fake = fake().await;
    let login = start(&fake).await;
    let port = port(&redirect(login.url()).await);
    drop(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    drop(login);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    // While it is waited for, too.
    let (finishing, back) = waiting(&fake).await;
    open(&format!("{back}&state=twice")).await;
    finishing.abort();
    assert!(finishing.await.unwrap_err().is_cancelled());
    let address = ("127.0.0.1", self::port(&back));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_login_without_a_redirect_times_out() {
    let fake = fake().await;
    let control_plane = control_plane(&fake, TokenEndpoint::V1);
    let limit = Duration::from_millis(20);
    let login = BrowserLogin::new(&control_plane).time_limit(limit);
    let login = login.start().await.unwrap();
    let port = port(&redirect(login.url()).await);
    let finished = timeout(Duration::from_secs(20), login.finish()).await;
    let error = finished.unwrap().unwrap_err();
    assert_eq!(error.kind(), LoginErrorKind::TimedOut);
    assert!(error.to_string().contains("within 0.02 s"), "{error}");
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}
