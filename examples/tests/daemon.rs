//! The daemon example, run as a user runs it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may")]

use runai_fake::RunaiFake;
use test_support::{Program, Scratch, Signal, wait_for};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test]
async fn the_daemons_story_goes_as_expected() {
    let output = Program::example("daemon").end().await;
    let printed = output.success();
    for line in [
        "GET /readyz: 200 OK",
        "the secret is rotated, also in its file, and the tokens are revoked",
        "the next poll got a 401, and was sent again with a token for the new secret",
        "the token was refreshed ahead of its expiry",
        "GET /metrics: 200 OK",
        "SIGTERM comes in the middle of a poll",
        "GET /readyz: 503 Service Unavailable",
        r#"  {"ready":false,"reason":"stopping"}"#,
        "the poll was finished, and the daemon has ended",
    ] {
        assert!(
            printed.lines().any(|it| it == line),
            "no `{line}` in {printed}"
        );
    }
    let last = printed.lines().last().unwrap();
    assert!(last.starts_with("summary: polls="), "{last}");
    assert!(last.contains(" failed=0 token_fetches=3 "), "{last}");
    assert!(last.ends_with(" rejections=1 retried=1"), "{last}");

    let log = &output.stderr;
    for part in [
        "refresh reason=initial",
        "refresh reason=ahead",
        "stopping",
        "ended",
    ] {
        assert!(log.contains(part), "no `{part}` in {log}");
    }
    for secret in ["the first secret", "the second secret", "Bearer ", "eyJ"] {
        assert!(
            !log.contains(secret) && !printed.contains(secret),
            "{secret}"
        );
    }
}

#[tokio::test]
async fn with_the_variables_it_polls_that_control_plane_until_sigterm() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let scratch = Scratch::new();
    let mut daemon = Program::example("daemon")
        .args(&["127.0.0.1:0"])
        .var("RUNAI_BASE_URL", fake.url())
        .var("RUNAI_CLIENT_ID", "test-app")
        .var(
            "RUNAI_CLIENT_SECRET_FILE",
            scratch.write("secret", "test-secret\n"),
        )
        .start();
    let line = daemon.line().await;
    let (control_plane, address) = line
        .strip_prefix("polls ")
        .and_then(|line| line.split_once("; status at http://"))
        .unwrap();
    assert_eq!(control_plane, fake.url());
    fake.wait_for(|journal| {
        journal
            .iter()
            .any(|it| it.status == Some(200) && it.path.ends_with("/clusters"))
    })
    .await;
    assert!(
        get(address, "/readyz")
            .await
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
    // The metrics of a refresh follow its token, which a poll can use before.
    wait_for("the metrics of the refresh", async || {
        get(address, "/metrics")
            .await
            .contains("tower_bearer_authenticated{cache=\"default\"} 1")
    })
    .await;

    daemon.signal(Signal::TERM);
    let output = daemon.end().await;
    let last = output.success().lines().last().unwrap();
    assert!(
        last.starts_with("summary: polls=1 failed=0 token_fetches=1 "),
        "{last}"
    );
}

#[tokio::test]
async fn an_invalid_secret_makes_it_unready_and_does_not_end_it() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let mut daemon = Program::example("daemon")
        .args(&["127.0.0.1:0"])
        .application(fake.url(), "test-app", "a-wrong-secret")
        .start();
    let line = daemon.line().await;
    let (_, address) = line.split_once("; status at http://").unwrap();
    fake.wait_for(|journal| journal.iter().any(|it| it.status == Some(401)))
        .await;
    // The answer is still on its way to the daemon.
    wait_for("the failed poll", async || {
        get(address, "/livez").await.contains("polls=1 failed=1 ")
    })
    .await;
    let printed = get(address, "/readyz").await;
    assert!(
        printed.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{printed}"
    );
    assert!(printed.contains(r#"application \"test-app\""#), "{printed}");

    daemon.signal(Signal::TERM);
    let output = daemon.end().await;
    let printed = output.success();
    assert!(
        printed.contains("summary: polls=1 failed=1 token_fetches=1 "),
        "{printed}"
    );
    assert!(output.stderr.contains("poll failed"), "{}", output.stderr);
    assert!(
        !output.stderr.contains("a-wrong-secret"),
        "{}",
        output.stderr
    );
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: daemon\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
