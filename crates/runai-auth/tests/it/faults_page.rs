//! `docs/faults.md` quotes the errors as they are.

use runai_auth::{ControlPlane, Credentials};
use tokio::net::TcpListener;

use crate::hostile::{SECRET, server};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/faults.md");
    std::fs::read_to_string(path).unwrap()
}

/// Fetches a token, and checks that the page has a row with the kind and the text of the error.
async fn check(control_plane: ControlPlane, place: &str) {
    let base = control_plane.base();
    let auth = control_plane.authenticate_with(Credentials::client("ci-bot", SECRET), |cache| {
        cache.attempts(1)
    });
    let error = auth.cache().token().await.unwrap_err();
    let text = format!("{}: {}", error.message(), error.advice().unwrap());
    let text = text
        .replace(&base, "BASE")
        .replace(place, "proxy.example:3128");
    // The reason depends on the system.
    let text = match (text.find("broke off (\""), text.find("\"): ")) {
        (Some(start), Some(end)) => format!("{}broke off (\"…{}", &text[..start], &text[end..]),
        _ => text,
    };
    let kind = format!("| `{:?}`", error.kind());
    let page = page();
    let mut rows = page.lines().filter(|row| row.contains(&text));
    assert!(rows.any(|row| row.contains(&kind)), "{kind}: {text}");
}

async fn answers(status: &str, headers: &str, body: &str) {
    let url = server(status, headers, |_| body.to_owned()).await;
    check(ControlPlane::new(&url).unwrap(), "no proxy").await;
}

#[tokio::test]
async fn answers_of_the_token_endpoint() {
    let json = "content-type: application/json\r\n";
    let words = r#"{"message":"…"}"#;
    answers("401 Unauthorized", json, words).await;
    answers("200 OK", json, r#"{"error":"invalid_client"}"#).await;
    answers("503 Service Unavailable", json, words).await;
    let location = "location: https://other.example/token\r\n";
    answers("302 Found", location, "").await;
    answers("404 Not Found", "", "").await;
    answers("200 OK", "content-type: text/html\r\n", "<html></html>").await;
    answers("200 OK", json, &"x".repeat(1024 * 1024 + 1)).await;
    answers("200 OK", json, "").await;
}

#[tokio::test]
async fn exchanges_without_an_answer() {
    let url = server("200 OK", "", |_| String::new()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closing = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    check(ControlPlane::new(&closing).unwrap(), "no proxy").await;

    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    check(ControlPlane::new(&nowhere).unwrap(), "no proxy").await;

    // No resolver is asked for a name below `invalid`.
    let unknown = "http://no-such-host.invalid".to_owned();
    let plane = ControlPlane::new_insecure(&unknown).unwrap().no_proxy();
    check(plane, "no proxy").await;

    let without_tls = url.replace("http:", "https:");
    check(ControlPlane::new(&without_tls).unwrap(), "no proxy").await;

    let proxy = server("403 Forbidden", "", |_| String::new()).await;
    let plane = ControlPlane::new("https://control-plane.example").unwrap();
    let plane = plane.proxy(&proxy).unwrap();
    check(plane, proxy.strip_prefix("http://").unwrap()).await;

    let fake = runai_fake::RunaiFake::builder().tls(true).start();
    let fake = fake.await.unwrap();
    check(ControlPlane::new(fake.url()).unwrap(), "no proxy").await;
}
