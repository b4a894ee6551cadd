//! Each way to misbehave, once.

use std::time::Duration;

use http::StatusCode;
use runai_fake::{Behaviour, Fault, RunaiFake, TokenShape};
use serde_json::json;

use crate::support::{Http, ask, client, fake, get};

async fn over_both() -> Vec<(RunaiFake, Http)> {
    let mut fakes = Vec::new();
    for tls in [false, true] {
        let fake = RunaiFake::builder()
            .application("ci-bot", "s3cr3t")
            .tls(tls)
            .start()
            .await
            .unwrap();
        let http = client(fake.ca_pem());
        fakes.push((fake, http));
    }
    fakes
}

#[tokio::test]
async fn behaviours_are_taken_in_order_and_then_it_is_as_usual() {
    let (fake, http) = fake().await;
    fake.on_token(Behaviour::status(503).header("retry-after", "7"));
    fake.on_token(Behaviour::status(429));
    fake.always_on_token(Some(Behaviour::status(500)));
    let answer = ask(&http, &fake).await.unwrap();
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.headers["retry-after"].to_str().unwrap()
        ),
        (503, "7")
    );
    assert_eq!(
        answer.json(),
        json!({"code": 503, "message": "Please try again in few minutes."})
    );
    for status in [429, 500, 500] {
        assert_eq!(ask(&http, &fake).await.unwrap().status.as_u16(), status);
    }
    fake.always_on_token(None);
    let token = ask(&http, &fake).await.unwrap().token();
    fake.on_api(Behaviour::status(401).header("www-authenticate", "Bearer"));
    let answer = get(&http, &fake, "/api/v1/clusters", &token).await.unwrap();
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.headers["www-authenticate"].to_str().unwrap()
        ),
        (401, "Bearer")
    );
    assert_eq!(
        get(&http, &fake, "/api/v1/clusters", &token)
            .await
            .unwrap()
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn bodies_of_all_sorts() {
    for (fake, http) in over_both().await {
        for (behaviour, status, content_type, body) in [
            (
                Behaviour::html(),
                200,
                "text/html; charset=utf-8",
                "<!doctype html>",
            ),
            (
                Behaviour::json("{\"half\":"),
                200,
                "application/json",
                "{\"half\":",
            ),
            (Behaviour::empty(), 200, "application/json", ""),
            (
                Behaviour::redirect(307, "https://elsewhere.example"),
                307,
                "text/plain",
                "moved",
            ),
            (
                Behaviour::json("0123456789").drip(3, Duration::from_millis(1)),
                200,
                "application/json",
                "0123456789",
            ),
        ] {
            fake.on_token(behaviour);
            let answer = ask(&http, &fake).await.unwrap();
            assert_eq!(answer.status.as_u16(), status);
            assert_eq!(answer.headers["content-type"], content_type);
            assert!(answer.body.starts_with(body.as_bytes()), "{answer:?}");
        }
        fake.on_token(Behaviour::huge(1_000_000));
        let answer = ask(&http, &fake).await.unwrap();
        assert_eq!(answer.body.len(), 1_000_000);
        assert!(answer.body.starts_with(b"{\"accessToken\":\"xxx"));
    }
}

#[tokio::test]
async fn faults_of_the_connection() {
    for (fake, http) in over_both().await {
        for fault in [
            Fault::Reset,
            Fault::Close,
            Fault::ResetAfter(10),
            Fault::Truncate(10),
        ] {
            fake.on_token(Behaviour::fault(fault));
            let error = ask(&http, &fake).await.unwrap_err();
            assert!(!error.is_empty(), "{fault:?}");
            // The next request finds a new connection.
            assert_eq!(
                ask(&http, &fake).await.unwrap().status,
                StatusCode::OK,
                "{fault:?}"
            );
        }
        for fault in [Fault::Silence, Fault::SilenceAfterHeaders] {
            fake.clear_journal();
            fake.on_token(Behaviour::fault(fault));
            let asking = std::pin::pin!(ask(&http, &fake));
            let read =
                std::pin::pin!(fake.wait_for(|journal| journal.iter().any(|it| it.body_complete)));
            tokio::select! {
                answer = asking => panic!("{fault:?}: {answer:?}"),
                () = read => {}
            }
        }
    }
}

#[tokio::test]
async fn tokens_of_all_shapes() {
    let (fake, http) = fake().await;
    let first = ask(&http, &fake).await.unwrap().token();
    for (shape, expected) in [
        (TokenShape::Same, Some(first)),
        (
            TokenShape::Raw("any text".into()),
            Some("any text".to_owned()),
        ),
        (TokenShape::Opaque, None),
        (TokenShape::NoExp, None),
        (TokenShape::Lifetime(5), None),
        (TokenShape::Expired, None),
    ] {
        fake.on_token(Behaviour::token(shape.clone()));
        let token = ask(&http, &fake).await.unwrap().token();
        assert!(
            expected.is_none_or(|expected| expected == token),
            "{shape:?}"
        );
        let taken = get(&http, &fake, "/api/v1/clusters", &token)
            .await
            .unwrap()
            .status
            == StatusCode::OK;
        assert_eq!(taken, shape != TokenShape::Expired, "{shape:?}");
    }
    fake.on_token(Behaviour::token(TokenShape::ExpiresIn(json!("soon"))));
    assert_eq!(ask(&http, &fake).await.unwrap().json()["expiresIn"], "soon");
    fake.on_token(Behaviour::token(TokenShape::TokenType("mac".into())));
    assert_eq!(ask(&http, &fake).await.unwrap().json()["tokenType"], "mac");
}

#[tokio::test]
async fn a_gate_holds_a_request_until_it_is_released() {
    let (fake, http) = fake().await;
    let gate = fake.hold_token();
    let released = async {
        gate.reached().await;
        assert_eq!(fake.journal()[0].status, None);
        gate.release_with(Behaviour::status(418));
    };
    let (answer, ()) = tokio::join!(ask(&http, &fake), released);
    assert_eq!(answer.unwrap().status.as_u16(), 418);
    drop(fake.hold_token());
    assert_eq!(
        ask(&http, &fake).await.unwrap().status,
        StatusCode::OK,
        "a dropped gate holds nobody"
    );
}

#[tokio::test]
async fn shutdown_closes_the_port() {
    let (fake, http) = fake().await;
    ask(&http, &fake).await.unwrap();
    fake.shutdown().await;
    let error = ask(&client(None), &fake).await.unwrap_err();
    assert!(error.contains("ConnectionRefused"), "{error}");
}
