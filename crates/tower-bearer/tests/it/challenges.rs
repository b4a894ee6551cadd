//! Which responses are rejections of the token.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body_util::Empty;
use tower::{Layer, ServiceExt, service_fn};
use tower_bearer::{AuthOutcome, BearerAuthLayer, BoxError, ReplayBody};

use crate::{
    api::{Api, authorized, get, layer, ready},
    support::Control,
};

/// Returns the calls to the source, the calls to the API, and the status that the caller gets, when the API's
/// first response has this `status` and these `headers`.
async fn costs(
    change: impl Fn(BearerAuthLayer) -> BearerAuthLayer,
    status: u16,
    headers: &[(&str, &str)],
) -> (usize, usize, u16) {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let mut first = HeaderMap::new();
    for (name, value) in headers {
        first.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let sent = Arc::new(Mutex::new(0));
    let count = sent.clone();
    let inner = service_fn(move |_: Request<ReplayBody<Empty<Bytes>>>| {
        let mut sent = count.lock().unwrap();
        *sent += 1;
        let mut response = Response::new(());
        if *sent == 1 {
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            *response.headers_mut() = first.clone();
        }
        async move { Ok::<_, BoxError>(response) }
    });
    let service = change(layer(&cache)).layer(inner);
    let response = service.oneshot(get()).await.unwrap();
    let sent = *sent.lock().unwrap();
    (control.calls(), sent, response.status().as_u16())
}

/// The token is replaced, and the request is retried.
const RETRIED: (usize, usize, u16) = (2, 2, 200);

#[tokio::test]
async fn d10_an_insufficient_scope_refreshes_nothing() {
    let challenge = ("www-authenticate", r#"Bearer error="insufficient_scope""#);
    assert_eq!(costs(|it| it, 401, &[challenge]).await, (1, 1, 401));
    let invalid_request = ("www-authenticate", r#"Bearer error="invalid_request""#);
    assert_eq!(costs(|it| it, 401, &[invalid_request]).await, (1, 1, 401));
}

#[tokio::test]
async fn d11_a_challenge_of_another_scheme_is_a_rejection() {
    for challenge in ["Basic realm=\"x\"", "Negotiate"] {
        let costs = costs(|it| it, 401, &[("www-authenticate", challenge)]).await;
        assert_eq!(costs, RETRIED, "{challenge}");
    }
}

#[tokio::test]
async fn d12_no_challenge_is_a_rejection() {
    assert_eq!(costs(|it| it, 401, &[]).await, RETRIED);
}

#[tokio::test]
async fn d13_several_odd_challenges_are_read() {
    let scope = [
        ("www-authenticate", "Basic realm=\"a, b\""),
        (
            "www-authenticate",
            "bEARER realm=x, ERROR=insufficient_scope",
        ),
    ];
    assert_eq!(costs(|it| it, 401, &scope).await, (1, 1, 401));
    let invalid = [
        ("www-authenticate", r#"Bearer error="insufficient_scope""#),
        (
            "www-authenticate",
            r#"Negotiate YQ==, Bearer error="invalid_token""#,
        ),
    ];
    assert_eq!(costs(|it| it, 401, &invalid).await, RETRIED);
}

#[tokio::test]
async fn d14_a_407_passes() {
    let challenge = ("proxy-authenticate", "Bearer");
    assert_eq!(costs(|it| it, 407, &[challenge]).await, (1, 1, 407));
}

#[tokio::test]
async fn d09_a_403_passes_whatever_it_says() {
    let challenge = ("www-authenticate", r#"Bearer error="invalid_token""#);
    assert_eq!(costs(|it| it, 403, &[challenge]).await, (1, 1, 403));
}

#[tokio::test]
async fn d25_unauthenticated_in_the_headers_is_a_rejection() {
    assert_eq!(costs(|it| it, 200, &[("grpc-status", "16")]).await, RETRIED);
    for other in ["0", "7", "160", ""] {
        let costs = costs(|it| it, 200, &[("grpc-status", other)]).await;
        assert_eq!(costs, (1, 1, 200), "{other}");
    }
}

#[tokio::test]
async fn reject_when_adds_rejections() {
    let csrf = |layer: BearerAuthLayer| layer.reject_when(|head| head.status.as_u16() == 419);
    assert_eq!(costs(csrf, 419, &[]).await, RETRIED);
    assert_eq!(costs(|it| it, 419, &[]).await, (1, 1, 419));
    assert_eq!(
        costs(csrf, 401, &[]).await,
        RETRIED,
        "the defaults still hold"
    );
    assert_eq!(costs(csrf, 418, &[]).await, (1, 1, 418));
    let scope = [("www-authenticate", r#"Bearer error="insufficient_scope""#)];
    let any_401 = |layer: BearerAuthLayer| layer.reject_when(|head| head.status == 401);
    assert_eq!(costs(any_401, 401, &scope).await, RETRIED);
}

#[tokio::test]
async fn a_server_error_does_not_prove_a_token_good() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    // Each replacement first gets a server error, and then a rejection.
    let rejections = |control: &Control| control.calls() - 1;
    let api = Api::answering(&[401, 503, 401, 503, 401, 503, 401, 503]);
    let service = authorized!(&cache, api);
    for _ in 0..8 {
        service.clone().oneshot(get()).await.unwrap();
        control.advance(5.0);
    }
    // If a 503 were a success, each of the four would have been followed by a refresh within its 5 s.
    assert!(rejections(&control) < 4, "{}", rejections(&control));
}

#[tokio::test]
async fn mark_responses_puts_the_outcome_into_every_response() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let api = Api::answering(&[200, 401, 200, 401, 401]);
    let answer = {
        let api = api.clone();
        service_fn(move |request: Request<ReplayBody<Empty<Bytes>>>| api.clone().answer(request))
    };
    let service = layer(&cache).mark_responses().layer(answer);
    let send = async || {
        let response = service.clone().oneshot(get()).await.unwrap();
        let outcome = response.extensions().get::<AuthOutcome>().cloned().unwrap();
        (
            outcome.generation(),
            outcome.rejected(),
            outcome.retried(),
            outcome.not_retried().map(ToString::to_string),
        )
    };
    assert_eq!(send().await, (1, None, false, None));
    assert_eq!(send().await, (2, Some(1), true, None));
    let again = Some("another token was rejected too".into());
    assert_eq!(send().await, (3, Some(2), true, again));
}
