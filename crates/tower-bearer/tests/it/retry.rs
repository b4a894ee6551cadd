//! What the layer does when a token is rejected, around an inner service that the test writes.

use std::{
    convert::Infallible,
    future::{Ready, ready as done},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt};
use tower_bearer::{AuthOutcome, BoxError, Kind, NotRetried, ReplayBody};

use crate::{
    api::{API, Api, authorized, get, layer, ready},
    support::{Control, settle},
};

#[tokio::test]
async fn d01_a_revoked_token_is_replaced_within_the_request() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let api = Api::answering(&[401]);
    let response = authorized!(&cache, api).oneshot(get()).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.body().as_str()),
        (200, "answer 200")
    );
    let outcome = response.extensions().get::<AuthOutcome>().unwrap();
    assert_eq!(outcome.rejected(), Some(1));
    assert!(outcome.not_retried().is_none());
    assert_eq!(api.bearers(), [Some("t1".into()), Some("t2".into())]);
    assert_eq!(control.calls(), 2);
    assert_eq!(cache.status().counts.retries, 1);
}

#[tokio::test]
async fn d06_the_second_rejection_is_the_answer() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let api = Api::answering(&[401, 401, 401]);
    let response = authorized!(&cache, api).oneshot(get()).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.body().as_str()),
        (401, "answer 401")
    );
    assert_eq!(response.headers()["x-answer"], "kept");
    let outcome = response.extensions().get::<AuthOutcome>().unwrap();
    assert!(matches!(
        outcome.not_retried(),
        Some(NotRetried::RejectedAgain)
    ));
    assert_eq!(api.seen().len(), 2, "no third try");
    assert_eq!(
        cache.peek().unwrap().expose_secret(),
        "t2",
        "the second rejection marks nothing"
    );
    assert_eq!(control.calls(), 2);
}

#[tokio::test]
async fn d07_a_server_that_rejects_everything_costs_few_fetches() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let api = Api::answering(&[401; 30_000]);
    let service = authorized!(&cache, api);
    // A thousand rejections a second for ten seconds.
    for _ in 0..10_000 {
        let response = service.clone().oneshot(get()).await.unwrap();
        assert_eq!(response.status(), 401);
        control.advance(0.001);
    }
    let beyond_the_first = control.calls() - 1;
    assert!((1..=4).contains(&beyond_the_first), "{beyond_the_first}");
}

#[tokio::test]
async fn c05_a_server_whose_clock_lags_costs_a_bounded_number_of_fetches() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    // For three seconds, with a hundred requests each, it rejects each new token.
    let api = Api::answering(&[401; 306]);
    let service = authorized!(&cache, api);
    for _ in 0..300 {
        let response = service.clone().oneshot(get()).await.unwrap();
        assert_eq!(response.status(), 401);
        assert!(
            response
                .extensions()
                .get::<AuthOutcome>()
                .unwrap()
                .not_retried()
                .is_some()
        );
        control.advance(0.01);
    }
    for _ in 0..10 {
        service.clone().oneshot(get()).await.unwrap();
    }
    let response = service.clone().oneshot(get()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(control.calls() <= 5, "{}", control.calls());
}

#[tokio::test]
async fn d20_a_retried_request_leaves_no_mark_on_the_next() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let api = Api::answering(&[401, 200, 401, 200]);
    let mut service = authorized!(&cache, api);
    for _ in 0..2 {
        let response = service.ready().await.unwrap().call(get()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(
            response
                .extensions()
                .get::<AuthOutcome>()
                .unwrap()
                .not_retried()
                .is_none()
        );
    }
    let response = service.ready().await.unwrap().call(get()).await.unwrap();
    assert!(response.extensions().get::<AuthOutcome>().is_none());
    assert_eq!(cache.status().counts.retries, 2);
}

#[tokio::test]
async fn d28_requests_are_retried_as_far_as_the_bucket_reaches() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let api = Api::answering(&[401, 200, 401, 200, 401]);
    let service = authorized!(&cache, api);
    let send = async || service.clone().oneshot(get()).await.unwrap();
    assert_eq!(
        (send().await.status(), send().await.status()),
        (StatusCode::OK, StatusCode::OK)
    );
    let response = send().await;
    assert_eq!(response.status(), 401);
    let why = response
        .extensions()
        .get::<AuthOutcome>()
        .unwrap()
        .not_retried()
        .unwrap()
        .to_string();
    assert!(
        why.contains("refreshes after rejections are limited")
            && why.ends_with("(next attempt in 5 s)"),
        "{why}"
    );
    control.advance(5.0);
    api.statuses.lock().unwrap().push_back(401);
    assert_eq!(
        send().await.status(),
        200,
        "retries resume as the bucket fills"
    );
}

/// A service that takes its time to become ready: the clock moves on meanwhile.
#[derive(Clone)]
struct Slow {
    control: Control,
    /// How long each takes, in seconds.
    takes: Arc<Mutex<Vec<f64>>>,
}

impl Service<Request<ReplayBody<Empty<Bytes>>>> for Slow {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let secs = self.takes.lock().unwrap().pop().unwrap_or_default();
        self.control.advance(secs);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<ReplayBody<Empty<Bytes>>>) -> Self::Future {
        done(Ok(Response::builder().status(401).body(()).unwrap()))
    }
}

#[tokio::test]
async fn d08_the_rejection_is_the_answer_even_if_the_new_token_ends_before_the_service_is_ready() {
    let (cache, control) = ready("t1").await;
    let inner = Slow {
        control: control.clone(),
        takes: Arc::new(Mutex::new(vec![3600.0, 0.0])),
    };
    let request = tokio::spawn(layer(&cache).layer(inner).oneshot(get()));
    control.asked().await.token("t2");
    let refused = tower_bearer::SourceError::invalid_credentials("no");
    control.asked().await.answer(Err(refused));
    let response = request.await.unwrap().unwrap();
    assert_eq!(response.status(), 401);
    let outcome = response.extensions().get::<AuthOutcome>().unwrap();
    assert!(matches!(
        outcome.not_retried(),
        Some(NotRetried::NoToken(_))
    ));
}

#[tokio::test]
async fn d28_many_requests_that_one_refresh_did_not_help_count_once() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    // A hundred requests and their retries are rejected; later requests succeed.
    let api = Api::answering(&[401; 200]);
    let service = authorized!(&cache, api);
    let burst: Vec<_> = (0..100)
        .map(|_| tokio::spawn(service.clone().oneshot(get())))
        .collect();
    for request in burst {
        assert_eq!(request.await.unwrap().unwrap().status(), 401);
    }
    // Two refreshes at most, whose interval is now 20 s.
    assert!(control.calls() <= 3, "{}", control.calls());
    control.advance(20.0);
    api.statuses.lock().unwrap().push_back(401);
    let response = service.clone().oneshot(get()).await.unwrap();
    assert_eq!(
        response.status(),
        200,
        "after the next revocation the request is retried"
    );
}

#[tokio::test]
async fn d08_without_another_token_the_rejection_is_returned() {
    let (cache, control) = ready("t1").await;
    let api = Api::answering(&[401]);
    let request = tokio::spawn(authorized!(&cache, api).oneshot(get()));
    let down = tower_bearer::SourceError::transient("the endpoint is down");
    control.asked().await.answer(Err(down));
    let response = request.await.unwrap().unwrap();
    assert_eq!(
        (response.status().as_u16(), response.body().as_str()),
        (401, "answer 401")
    );
    let outcome = response.extensions().get::<AuthOutcome>().unwrap();
    match outcome.not_retried() {
        Some(NotRetried::NoToken(error)) => assert_eq!(*error.kind(), Kind::Unavailable),
        other => panic!("{other:?}"),
    }
    assert_eq!(api.seen().len(), 1);
}

#[tokio::test]
async fn d09_a_403_passes_and_touches_nothing() {
    let (cache, control) = ready("t1").await;
    let api = Api::answering(&[403]);
    let response = authorized!(&cache, api).oneshot(get()).await.unwrap();
    assert_eq!(response.status(), 403);
    settle().await;
    assert_eq!((control.calls(), cache.status().rejected), (1, false));
}

#[tokio::test]
async fn d15_a_callers_own_header_stays_and_its_401_changes_nothing() {
    let (cache, control) = ready("t1").await;
    let api = Api::answering(&[401]);
    let mut request = get();
    request
        .headers_mut()
        .insert("authorization", "Basic b3duOmhlYWRlcg==".parse().unwrap());
    let response = authorized!(&cache, api).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(
        api.seen()[0].headers["authorization"],
        "Basic b3duOmhlYWRlcg=="
    );
    settle().await;
    assert_eq!((control.calls(), cache.status().rejected), (1, false));
}

#[tokio::test]
async fn d15_several_headers_of_the_caller_stay_as_they_are() {
    let (cache, _control) = ready("t1").await;
    for own in [
        &["Basic b25l"][..],
        &["Basic b25l", "Basic dHdv"],
        &["", "x", "y"],
    ] {
        let api = Api::answering(&[200]);
        let mut request = get();
        for (place, value) in own.iter().enumerate() {
            let headers = request.headers_mut();
            headers.append("authorization", value.parse().unwrap());
            let name = http::HeaderName::try_from(format!("x-{place}")).unwrap();
            headers.append(name, "1".parse().unwrap());
        }
        let before: Vec<_> = pairs(request.headers());
        let response = authorized!(&cache, api).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(pairs(&api.seen()[0].headers), before);
    }
}

fn pairs(headers: &http::HeaderMap) -> Vec<(String, Vec<u8>)> {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect()
}

#[tokio::test]
async fn d16_a_body_that_was_not_kept_is_not_sent_again_but_the_token_is_replaced() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let api = Api::answering(&[401]);
    let mut service = authorized!(&cache, api);
    // The stream has no length, and turns out to be too long.
    let chunks =
        (0..9).map(|_| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(vec![7; 8192]))));
    let body = StreamBody::new(tokio_stream(chunks));
    let request = Request::post(API).body(body.boxed()).unwrap();
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(response.status(), 401);
    let why = response
        .extensions()
        .get::<AuthOutcome>()
        .unwrap()
        .not_retried()
        .unwrap()
        .to_string();
    assert_eq!(
        why,
        "the request's body is larger than what is kept for a retry"
    );
    assert_eq!(
        api.seen()[0].body.len(),
        9 * 8192,
        "the one attempt was whole"
    );
    assert_eq!(cache.status().counts.replays_refused, 1);
    settle().await;
    let small = Request::post(API)
        .body(Full::from("small").map_err(|e| match e {}).boxed())
        .unwrap();
    let response = service.ready().await.unwrap().call(small).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(api.bearers(), [Some("t1".into()), Some("t2".into())]);
}

fn tokio_stream<T: Unpin>(
    items: impl Iterator<Item = T> + Unpin,
) -> impl futures_core::Stream<Item = T> {
    futures_util::stream::iter(items)
}

#[tokio::test]
async fn d17_what_is_sent_again_is_identical() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let api = Api::answering(&[401]);
    let request = Request::builder()
        .method("PATCH")
        .uri("https://api.example/things?x=%20y&z")
        .version(Version::HTTP_2)
        .header("content-length", "11")
        .header("x-twice", "a")
        .header("x-twice", "b")
        .extension(42u32)
        .body(Full::<Bytes>::from("hello world"))
        .unwrap();
    let response = authorized!(&cache, api).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let seen = api.seen();
    assert_eq!(seen[0].body, "hello world");
    assert_eq!(seen[0].extension, Some(42));
    assert_ne!(seen[0].bearer(), seen[1].bearer());
    assert_eq!(seen[0].clone().bare(), seen[1].clone().bare());
}

#[tokio::test]
async fn d22_a_retry_waits_until_the_service_is_ready() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let (inner, mut handle) =
        tower_test::mock::pair::<Request<ReplayBody<Empty<Bytes>>>, Response<()>>();
    handle.allow(1);
    let mut request = task::spawn(layer(&cache).layer(inner).oneshot(get()));
    assert_pending!(request.poll());
    let (_, answer) = handle.next_request().await.unwrap();
    answer.send_response(Response::builder().status(401).body(()).unwrap());
    assert_pending!(request.poll());
    settle().await;
    assert_pending!(request.poll(), "the service has no capacity");
    handle.allow(1);
    assert!(request.is_woken());
    assert_pending!(request.poll());
    let (again, answer) = handle.next_request().await.unwrap();
    assert_eq!(again.headers()["authorization"], "Bearer t2");
    answer.send_response(Response::new(()));
    assert_eq!(assert_ready!(request.poll()).unwrap().status(), 200);
}

/// A service that keeps its connection in itself. A clone shares the connection, until either opens another.
#[derive(Clone)]
struct Connected {
    /// The connection that this service sends through.
    connection: usize,
    /// The one connection that the server keeps open.
    open: Arc<AtomicUsize>,
    /// The connections that were opened.
    opened: Arc<AtomicUsize>,
    /// The status of the next response.
    status: Arc<AtomicUsize>,
}

impl Service<Request<ReplayBody<Empty<Bytes>>>> for Connected {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let open = self.open.load(SeqCst);
        if self.connection != open {
            self.connection = open;
            self.opened.fetch_add(1, SeqCst);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<ReplayBody<Empty<Bytes>>>) -> Self::Future {
        let status = self.status.swap(200, SeqCst);
        let response = Response::builder().status(u16::try_from(status).unwrap());
        done(Ok(response.body(()).unwrap()))
    }
}

#[tokio::test]
async fn l39_a_retry_goes_through_a_service_in_use() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let inner = Connected {
        connection: 0,
        open: Arc::default(),
        opened: Arc::default(),
        status: Arc::new(AtomicUsize::new(200)),
    };
    let mut service = layer(&cache).layer(inner.clone());
    for hour in 1..=3 {
        for _ in 0..5 {
            service.ready().await.unwrap().call(get()).await.unwrap();
        }
        // The server closes the connection, and the next request opens another.
        inner.open.store(hour, SeqCst);
        service.ready().await.unwrap();
        let opened = inner.opened.load(SeqCst);
        inner.status.store(401, SeqCst);
        let response = service.ready().await.unwrap().call(get()).await.unwrap();
        assert_eq!(response.status(), 200, "it is sent again");
        assert_eq!(
            inner.opened.load(SeqCst),
            opened,
            "over the same connection"
        );
        control.advance(60.0);
    }
    assert_eq!(cache.status().counts.retries, 3);
}
