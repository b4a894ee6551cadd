//! The gateway example, run as a user runs it.

#![allow(clippy::unwrap_used, reason = "a test may")]

use runai_fake::RunaiFake;
use test_support::Program;
#[cfg(unix)]
use test_support::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test]
async fn the_gateways_story_goes_as_expected() {
    let output = Program::example("gateway").end().await;
    let printed = output.success();
    for line in [
        "a list: 200 OK",
        "  the caller's Authorization was replaced, its Cookie and hop-by-hop headers were removed",
        "a submission: 202 Accepted",
        "  4194331 bytes, the second half sent after the control plane had seen the head",
        "a watch whose body is still to come: 200 OK",
        "  the same again: 202 Accepted",
        "a connection that breaks: 502 Bad Gateway",
        "a list: 503 Service Unavailable",
        "GET /readyz: 503 Service Unavailable",
        "a list: 502 Bad Gateway",
        "the endpoint is up: GET /readyz is 200 again, without a call",
    ] {
        assert!(
            printed.lines().any(|it| it == line),
            "no `{line}` in {printed}"
        );
    }
    assert!(printed.contains(", all answered 200"), "{printed}");
    assert!(printed.contains("  Retry-After: 1, "), "{printed}");
    let last = printed.lines().last().unwrap();
    assert!(last.starts_with("summary: token_fetches="), "{last}");
    assert!(last.ends_with(" caller_credentials_forwarded=0"), "{last}");
    assert!(!printed.contains("s3cr3t"), "{printed}");
}

#[cfg(unix)]
#[tokio::test]
async fn with_the_variables_it_serves_that_control_plane_until_ctrl_c() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let mut gateway = Program::example("gateway")
        .args(&["127.0.0.1:0"])
        .application(fake.url(), "test-app", "test-secret")
        .start();
    let line = gateway.line().await;
    let (control_plane, address) = line
        .strip_prefix("serves ")
        .and_then(|line| line.split_once(" at http://"))
        .unwrap();
    assert_eq!(control_plane, fake.url());

    let mut caller = TcpStream::connect(address).await.unwrap();
    let request = "GET /api/v1/clusters?verbose=1 HTTP/1.1\r\nhost: gateway\r\n\
                   authorization: Bearer the-callers-own\r\nconnection: close\r\n\r\n";
    caller.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("fake-cluster"), "{answer}");

    let journal = fake.journal();
    let sent = journal.last().unwrap();
    assert_eq!(sent.bearer(), Some(fake.issued()[0].token.as_str()));
    assert_eq!(sent.query.as_deref(), Some("verbose=1"));
    assert_eq!(sent.headers["host"], fake.addr().to_string());

    gateway.signal(Signal::INT);
    assert_eq!(gateway.end().await.code(), 0);
}

#[tokio::test]
async fn with_some_of_the_variables_it_says_what_is_missing() {
    let gateway = Program::example("gateway").var("RUNAI_BASE_URL", "http://127.0.0.1:9");
    let output = gateway.end().await;
    assert!(!output.status.success());
    assert!(
        output
            .stdout
            .contains("the environment lacks RUNAI_CLIENT_ID"),
        "{}",
        output.stdout
    );
}
