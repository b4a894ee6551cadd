//! Configured behaviours.

use std::time::Duration;

use runai_fake::{Behaviour, TokenShape};
use serde_json::json;
use test_support::within;

use crate::client::{Client, SECRET, start};

#[tokio::test]
async fn a_status_has_the_documented_body() {
    let fake = start().await;
    let client = Client::new(&fake);
    for (status, message) in [
        (400, "Required parameter is missing"),
        (500, "Something went wrong."),
        (503, "Please try again in few minutes."),
    ] {
        fake.on_token(Behaviour::status(status));
        let answer = client.ask(SECRET).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.json(), json!({"code": status, "message": message}));
    }
    for (status, member) in [(400, "error"), (401, "error"), (500, "code"), (503, "code")] {
        fake.on_token(Behaviour::status(status));
        let answer = client.v2("").await;
        assert_eq!(answer.status, status);
        assert!(answer.json().get(member).is_some(), "{answer:?}");
    }
    assert!(fake.issued().is_empty(), "no token was made for a failure");
}

#[tokio::test]
async fn headers_and_bodies_are_as_configured() {
    let fake = start().await;
    let client = Client::new(&fake);
    fake.on_api(
        Behaviour::status(429)
            .header("retry-after", "120")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .header("date", "Thu, 01 Jan 1970 00:00:00 GMT")
            .body("text/plain", "slow down"),
    );
    let answer = client.get("/api/v1/clusters", "").await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), "120");
    assert_eq!(answer.header("content-type"), "text/plain");
    assert_eq!(answer.header("date"), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(answer.body, "slow down");

    // A header alone leaves the answer as it is.
    fake.on_token(Behaviour::normal().header("x-more", "1"));
    let answer = client.ask(SECRET).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-more"), "1");
    assert!(answer.json()["accessToken"].is_string());
}

/// A body without a status is sent with 200.
#[tokio::test]
async fn a_body_needs_no_status() {
    let fake = start().await;
    let client = Client::new(&fake);
    fake.on_token(Behaviour::normal().body("text/plain", "hello"));
    let answer = client.ask(SECRET).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (200, &b"hello"[..])
    );
}

#[tokio::test]
async fn success_need_not_look_like_it() {
    let fake = start().await;
    let client = Client::new(&fake);
    fake.on_token(Behaviour::html());
    let answer = client.ask(SECRET).await;
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert!(answer.body.starts_with(b"<!doctype html>"));

    fake.on_token(Behaviour::json("[1, 2"));
    let answer = client.ask(SECRET).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.body, "[1, 2");

    fake.on_token(Behaviour::empty());
    let answer = client.ask(SECRET).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));

    fake.on_token(Behaviour::redirect(307, "http://127.0.0.1:9/"));
    let answer = client.ask(SECRET).await;
    assert_eq!(answer.status, 307);
    assert_eq!(answer.header("location"), "http://127.0.0.1:9/");
}

#[tokio::test]
async fn a_huge_body_has_its_size() {
    let fake = start().await;
    let size = 3_000_001;
    for client in [Client::new(&fake), Client::h2(&fake)] {
        fake.on_api(Behaviour::huge(size));
        let answer = client.get("/api/v1/clusters", "").await;
        assert!(answer.complete);
        assert_eq!(answer.body.len() as u64, size);
        assert!(answer.body.starts_with(b"{\"accessToken\":\"xxx"));
    }
}

#[tokio::test]
async fn a_body_may_drip() {
    let fake = start().await;
    for client in [Client::new(&fake), Client::h2(&fake)] {
        fake.on_api(Behaviour::json("0123456789").drip(3, Duration::from_millis(1)));
        let answer = client.get("/api/v1/clusters", "").await;
        assert_eq!(answer.body, "0123456789");
        assert!(answer.pieces.iter().all(|piece| *piece <= 3), "{answer:?}");
    }
}

/// Time is paused: tokio moves it ahead when every task waits for it.
#[tokio::test(start_paused = true)]
#[expect(
    clippy::disallowed_methods,
    reason = "the paused time is what is measured"
)]
async fn a_delay_is_waited_for() {
    let fake = start().await;
    let client = Client::new(&fake);
    fake.on_api(Behaviour::status(204).delay(Duration::from_secs(9)));
    let before = tokio::time::Instant::now();
    assert_eq!(client.clusters("").await, 204);
    assert!(before.elapsed() >= Duration::from_secs(9));
}

#[tokio::test]
async fn an_early_answer_leaves_the_body_unread() {
    let fake = start().await;
    let client = Client::new(&fake);
    fake.on_api(Behaviour::status(401).without_reading_body());
    // The client may see the answer, or that its body is not wanted.
    let sent = client.send(
        "POST",
        "/api/v1/workloads/trainings",
        &[],
        vec![b'x'; 50_000_000],
    );
    match sent.await {
        Ok(answer) => assert_eq!(answer.status, 401),
        Err(error) => assert!(!error.is_connect()),
    }
    let journal = fake.journal();
    assert_eq!(
        (journal[0].body_complete, journal[0].body.len()),
        (false, 0)
    );
    assert_eq!(journal[0].status, Some(401));

    // Over HTTP/2 a stream ends by itself, and the connection goes on.
    let client = Client::h2(&fake);
    fake.on_token(Behaviour::status(503).without_reading_body());
    assert_eq!(client.ask(SECRET).await.status, 503);
    assert_eq!(client.ask(SECRET).await.status, 200);
    let journal = fake.journal();
    assert_eq!(journal[1].connection, journal[2].connection);
}

#[tokio::test]
async fn behaviours_queue_up_apart_for_tokens_and_the_api() {
    let fake = start().await;
    let client = Client::new(&fake);
    fake.always_on_token(Some(Behaviour::status(500)));
    fake.on_token(Behaviour::status(503));
    fake.on_token(Behaviour::normal());
    fake.on_api(Behaviour::status(502));
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(client.ask(SECRET).await.status.as_u16());
    }
    assert_eq!(seen, [503, 200, 500, 500]);
    assert_eq!(client.clusters("").await, 502);
    assert_eq!(client.clusters("").await, 401);
    fake.always_on_token(None);
    assert_eq!(client.ask(SECRET).await.status, 200);
    fake.always_on_api(Some(Behaviour::status(503)));
    assert_eq!(client.clusters("").await, 503);
}

#[tokio::test]
async fn a_gate_holds_until_it_is_released() {
    let fake = start().await;
    let client = Client::new(&fake);
    let gate = fake.hold_token();
    let held = tokio::spawn({
        let client = client.clone();
        async move { client.ask(SECRET).await }
    });
    within(gate.reached()).await;
    // The next request is not held, and the first is still waiting when it has its answer.
    assert_eq!(client.ask(SECRET).await.status, 200);
    assert!(!held.is_finished());
    assert_eq!(fake.journal()[0].status, None);
    gate.release_with(Behaviour::status(503));
    assert_eq!(held.await.expect("it does not panic").status, 503);

    let gate = fake.hold_api_requests(2);
    let all = async { tokio::join!(client.clusters(""), client.clusters("")) };
    let release = async {
        within(gate.reached_by(2)).await;
        drop(gate);
    };
    let (all, ()) = tokio::join!(all, release);
    assert_eq!(all, (401, 401));
}

/// The control interface's JSON and the constructors make the same behaviour.
#[test]
fn behaviours_survive_json() {
    let behaviour = Behaviour::status(503)
        .header("retry-after", "1")
        .delay(Duration::from_millis(5))
        .drip(7, Duration::from_millis(2))
        .without_reading_body();
    let text = serde_json::to_string(&behaviour).expect("it is JSON");
    let again: Behaviour = serde_json::from_str(&text).expect("it is a behaviour");
    assert_eq!(again, behaviour);
    let short: Behaviour =
        serde_json::from_str(r#"{"token":{"raw":"t"}}"#).expect("it is a behaviour");
    assert_eq!(short, Behaviour::token(TokenShape::Raw("t".into())));
    let error = serde_json::from_str::<Behaviour>(r#"{"statsu":503}"#).expect_err("a typo");
    assert!(error.to_string().contains("`statsu`"), "{error}");
}
