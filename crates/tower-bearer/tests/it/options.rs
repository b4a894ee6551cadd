//! The options of a request and of a layer.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{Empty, Full};
use tokio::sync::oneshot;
use tokio_test::{assert_pending, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_bearer::{
    AuthOutcome, BoxError, NotRetried, ReplayBody, RequestOptions, SourceError, auth::NotReplayable,
};
use tower_http::follow_redirect::{FollowRedirectLayer, RequestUri, policy};

use crate::{
    api::{API, Api, authorized, get, layer, ready},
    support::{settle, token},
};

fn asking(options: RequestOptions) -> Request<Empty<Bytes>> {
    let mut request = get();
    request.extensions_mut().insert(options);
    request
}

fn lasting(secs: u64) -> Request<Empty<Bytes>> {
    asking(RequestOptions::new().min_remaining(Duration::from_secs(secs)))
}

#[tokio::test]
async fn a_request_may_ask_for_more_time_than_is_left() {
    let (cache, control) = ready("t1").await;
    let api = Api::default();
    let service = authorized!(&cache, api);
    control.advance(2000.0);
    service.clone().oneshot(lasting(600)).await.unwrap();
    let mut upload = task::spawn(service.clone().oneshot(lasting(1700)));
    assert_pending!(upload.poll());
    // Other requests do not wait.
    service.clone().oneshot(get()).await.unwrap();
    control.asked().await.token("t2");
    settle().await;
    upload.await.unwrap();
    // A new token will do, however long it should last.
    service.clone().oneshot(lasting(86_400)).await.unwrap();
    let bearers: Vec<_> = api.bearers().into_iter().flatten().collect();
    assert_eq!(bearers, ["t1", "t1", "t2", "t2"]);
    assert_eq!(control.calls(), 2);
    assert_eq!(
        cache
            .status()
            .counts
            .refreshes
            .of(tower_bearer::Reason::Ahead),
        1
    );
}

#[tokio::test]
async fn g6_requests_for_more_time_cost_two_fetches_a_lifetime() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let api = Api::default();
    let service = authorized!(&cache, api);
    for _ in 0..3600 {
        service.clone().oneshot(lasting(86_400)).await.unwrap();
        control.advance(10.0);
    }
    // Ten lifetimes.
    assert!((19..=21).contains(&control.calls()), "{}", control.calls());
}

#[tokio::test]
async fn without_a_token_that_lasts_longer_the_current_one_is_sent() {
    let (cache, control) = ready("t1").await;
    let api = Api::default();
    let service = authorized!(&cache, api);
    control.advance(2000.0);
    let upload = tokio::spawn(service.clone().oneshot(lasting(1700)));
    let down = SourceError::transient("down");
    control.asked().await.answer(Err(down));
    upload.await.unwrap().unwrap();
    // During the backoff the next request does not wait.
    service.clone().oneshot(lasting(1700)).await.unwrap();
    // The source returns the same token until it expires.
    control.advance(61.0);
    let upload = tokio::spawn(service.clone().oneshot(lasting(1700)));
    control
        .asked()
        .await
        .answer(Ok(token("t1").expires_in(Duration::from_secs(1539))));
    upload.await.unwrap().unwrap();
    assert_eq!(api.bearers(), vec![Some("t1".to_owned()); 3]);
    assert_eq!(control.calls(), 3);
}

#[tokio::test]
async fn a_request_may_go_without_a_token() {
    let (cache, control) = ready("t1").await;
    let api = Api::answering(&[401]);
    let mut request = asking(RequestOptions::new().without_token());
    *request.uri_mut() = Uri::from_static("https://bucket.example/");
    let response = authorized!(&cache, api).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(response.extensions().get::<AuthOutcome>().is_none());
    assert_eq!(api.bearers(), [None]);
    assert_eq!(control.calls(), 1, "d15: such a 401 refreshes nothing");
}

#[tokio::test]
async fn a_request_or_a_layer_may_go_without_a_retry() {
    for of_the_layer in [false, true] {
        let (cache, control) = ready("t1").await;
        control.answer_all();
        let api = Api::answering(&[401]);
        let (layer, request) = match of_the_layer {
            true => (layer(&cache).without_retry(), get()),
            false => (layer(&cache), asking(RequestOptions::new().without_retry())),
        };
        let answer = {
            let api = api.clone();
            move |request: Request<ReplayBody<Empty<Bytes>>>| api.clone().answer(request)
        };
        let service = layer.layer(service_fn(answer));
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 401);
        let outcome = response.extensions().get::<AuthOutcome>().unwrap();
        assert!(matches!(
            outcome.not_retried(),
            Some(NotRetried::NotReplayed(NotReplayable::TurnedOff))
        ));
        assert!(!outcome.retried());
        service.oneshot(get()).await.unwrap();
        assert_eq!(api.bearers(), [Some("t1".into()), Some("t2".into())]);
    }
}

#[tokio::test]
async fn without_retries_too_a_token_that_is_accepted_is_known_to_be_good() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let api = Api::answering(&[401, 200, 401, 200, 401, 200, 401, 200]);
    let answer = {
        let api = api.clone();
        move |request: Request<ReplayBody<Empty<Bytes>>>| api.clone().answer(request)
    };
    let service = layer(&cache).without_retry().layer(service_fn(answer));
    for _ in 0..8 {
        service.clone().oneshot(get()).await.unwrap();
        settle().await;
        control.advance(5.0);
    }
    // If a replacement were not known to be good, the limiter would have delayed the last refreshes.
    assert_eq!(control.calls(), 5);
}

#[tokio::test]
async fn a_rejection_is_handed_on_after_all_other_handles_of_its_cache_are_gone() {
    let (cache, control) = ready("t1").await;
    let (answer, answered) = oneshot::channel::<Response<()>>();
    let answered = Arc::new(Mutex::new(Some(answered)));
    let inner = service_fn(move |_: Request<ReplayBody<Empty<Bytes>>>| {
        let answered = answered.lock().unwrap().take().unwrap();
        async move { answered.await.map_err(BoxError::from) }
    });
    let mut service = layer(&cache).without_retry().layer(inner);
    let response = service.ready().await.unwrap().call(get());
    drop((service, cache));
    let rejection = Response::builder().status(401).body(()).unwrap();
    answer.send(rejection).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 401);
    let outcome = response.extensions().get::<AuthOutcome>().unwrap();
    assert!(matches!(
        outcome.not_retried(),
        Some(NotRetried::NotReplayed(NotReplayable::TurnedOff))
    ));
    assert_eq!(control.calls(), 1);
}

#[tokio::test]
async fn f11_a_request_may_take_its_token_from_another_cache() {
    let (ours, ours_control) = ready("ours").await;
    let (theirs, theirs_control) = ready("theirs").await;
    ours_control.answer_all();
    theirs_control.answer_all();
    let api = Api::answering(&[200, 401, 200]);
    let service = authorized!(&ours, api);
    let request = || asking(RequestOptions::new().cache(theirs.clone()));
    service.clone().oneshot(request()).await.unwrap();
    service.clone().oneshot(request()).await.unwrap();
    service.clone().oneshot(get()).await.unwrap();
    let bearers: Vec<_> = api.bearers().into_iter().flatten().collect();
    assert_eq!(bearers, ["theirs", "theirs", "t2", "ours"]);
    assert_eq!((ours_control.calls(), theirs_control.calls()), (1, 2));
    assert_eq!(ours.status().counts.rejections, 0);
}

#[tokio::test]
async fn a_gateway_does_not_hand_on_what_its_callers_sent() {
    let (cache, _control) = ready("t1").await;
    let api = Api::default();
    let answer = {
        let api = api.clone();
        move |request: Request<ReplayBody<Empty<Bytes>>>| api.clone().answer(request)
    };
    let service = layer(&cache)
        .pass_other_origins()
        .overwrite_authorization()
        .layer(service_fn(answer));
    for (uri, options) in [
        (API, RequestOptions::new()),
        ("https://bucket.example/", RequestOptions::new()),
        (API, RequestOptions::new().without_token()),
    ] {
        let mut request = asking(options);
        *request.uri_mut() = Uri::from_static(uri);
        let headers = request.headers_mut();
        headers.insert("authorization", "Basic b25l".parse().unwrap());
        headers.append("authorization", "Basic dHdv".parse().unwrap());
        service.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(api.bearers(), [Some("t1".into()), None, None]);
    for seen in api.seen() {
        let values = seen.headers.get_all("authorization").iter().count();
        assert_eq!(values, usize::from(seen.bearer().is_some()));
    }
}

#[tokio::test]
async fn f04_a_redirect_inside_that_left_the_token_behind_rejects_nothing() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let seen = Api::default();
    let api = seen.clone();
    let inner = service_fn(move |request: Request<ReplayBody<Full<Bytes>>>| {
        let path = request.uri().path().to_owned();
        let there = request.uri().host() == Some("api.example");
        let api = api.clone();
        async move {
            api.answer(request).await?;
            let moved = |to: &str| Response::builder().status(307).header("location", to);
            let response = match path.as_str() {
                "/away" => moved("https://bucket.example/x"),
                "/near" => moved("/here"),
                _ => Response::builder().status(if there { 200 } else { 401 }),
            };
            Ok::<_, BoxError>(response.body(String::new()).unwrap())
        }
    });
    let service = layer(&cache)
        .final_uri(|head| head.extensions.get::<RequestUri>().map(|uri| &uri.0))
        .layer(FollowRedirectLayer::with_policy(policy::FilterCredentials::new()).layer(inner));
    let send = async |path: &str| {
        let uri = format!("https://api.example{path}");
        let request = Request::get(uri).body(Full::<Bytes>::default()).unwrap();
        service.clone().oneshot(request).await.unwrap()
    };
    let response = send("/away").await;
    assert_eq!(response.status(), 401);
    assert!(response.extensions().get::<AuthOutcome>().is_none());
    assert_eq!(seen.bearers(), [Some("t1".into()), None]);
    assert_eq!(control.calls(), 1);
    assert_eq!(cache.status().counts.rejections, 0);
    assert_eq!(send("/near").await.status(), 200);
    assert_eq!(seen.bearers()[3], Some("t1".into()));
}

#[tokio::test]
async fn f04_after_a_redirect_within_the_origin_a_rejected_request_is_retried() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let api = Api::answering(&[307, 401, 307, 200]);
    let inner = {
        let api = api.clone();
        service_fn(move |request: Request<ReplayBody<Full<Bytes>>>| {
            let api = api.clone();
            async move {
                let mut response = api.answer(request).await?;
                let headers = response.headers_mut();
                headers.insert("location", "https://api.example/there".parse()?);
                Ok::<_, BoxError>(response)
            }
        })
    };
    let service = layer(&cache)
        .final_uri(|head| head.extensions.get::<RequestUri>().map(|uri| &uri.0))
        .layer(FollowRedirectLayer::with_policy(policy::FilterCredentials::new()).layer(inner));
    let request = Request::get(API).body(Full::<Bytes>::default()).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    let bearers: Vec<_> = api.bearers().into_iter().flatten().collect();
    assert_eq!(bearers, ["t1", "t1", "t2", "t2"]);
}
