//! Stamping: which requests get a token, and when.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn};
use tower_bearer::{
    AuthOutcome, BearerAuth, BoxError, Kind, ReplayBody, TokenCache, clock::ManualClock, source_fn,
};

use crate::{
    api::{Api, authorized, get, layer, ours, ready},
    support::{cache, settle},
};

#[tokio::test]
async fn a_fresh_token_is_stamped_and_sensitive() {
    let (cache, control) = ready("t1").await;
    let api = Api::default();
    let response = authorized!(&cache, api).oneshot(get()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.extensions().get::<AuthOutcome>().is_none());
    let seen = api.seen();
    assert_eq!(seen[0].bearer(), Some("t1"));
    assert!(seen[0].headers["authorization"].is_sensitive());
    assert_eq!(control.calls(), 1);
}

#[tokio::test]
async fn f15_a_refused_request_gives_its_capacity_back() {
    let (cache, _control) = ready("t1").await;
    let api = Api::default();
    let inner = {
        let api = api.clone();
        service_fn(move |request: Request<ReplayBody<Empty<Bytes>>>| api.clone().answer(request))
    };
    let mut one = layer(&cache).layer(ConcurrencyLimit::new(inner, 1));
    let mut other = one.clone();
    let elsewhere = Request::get("https://elsewhere.example/")
        .body(Empty::new())
        .unwrap();
    one.ready()
        .await
        .unwrap()
        .call(elsewhere)
        .await
        .unwrap_err();
    let mut ready = task::spawn(other.ready());
    assert!(ready.poll().is_ready());
}

#[tokio::test]
async fn f15_a_request_that_waits_for_a_token_holds_no_capacity() {
    let (cache, control) = cache();
    let api = Api::default();
    let inner = {
        let api = api.clone();
        service_fn(move |request: Request<ReplayBody<Empty<Bytes>>>| api.clone().answer(request))
    };
    let mut service = layer(&cache)
        .pass_other_origins()
        .layer(ConcurrencyLimit::new(inner, 1));
    let mut waiting = task::spawn(service.ready().await.unwrap().call(get()));
    assert_pending!(waiting.poll());
    let needs_none = Request::get("https://elsewhere.example/")
        .body(Empty::new())
        .unwrap();
    let response = service
        .ready()
        .await
        .unwrap()
        .call(needs_none)
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    control.asked().await.token("t1");
    settle().await;
    assert!(waiting.is_woken());
    assert_eq!(waiting.await.unwrap().status(), 200);
    assert_eq!(api.bearers(), [None, Some("t1".into())]);
}

#[tokio::test]
async fn f15_capacity_that_was_reserved_for_a_waiting_request_is_given_to_others() {
    let (cache, control) = cache();
    let api = Api::default();
    let inner = {
        let api = api.clone();
        service_fn(move |request: Request<ReplayBody<Empty<Bytes>>>| api.clone().answer(request))
    };
    let mut one = layer(&cache).layer(ConcurrencyLimit::new(inner, 1));
    let mut other = one.clone();
    let mut waiting = task::spawn(one.ready().await.unwrap().call(get()));
    assert_pending!(waiting.poll());
    assert!(task::spawn(other.ready()).poll().is_ready());
    drop(other);
    control.asked().await.token("t1");
    settle().await;
    assert_eq!(waiting.await.unwrap().status(), 200);
}

/// A service that is ready after a while: the clock moves on meanwhile.
#[derive(Clone)]
struct Late<S> {
    inner: S,
    clock: ManualClock,
    /// How long each takes.
    takes: Arc<Mutex<Vec<Duration>>>,
}

impl<S: Service<T>, T> Service<T> for Late<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let ready = self.inner.poll_ready(cx);
        let takes = self.takes.lock().unwrap().pop().unwrap_or_default();
        self.clock.advance(takes);
        ready
    }

    fn call(&mut self, request: T) -> S::Future {
        self.inner.call(request)
    }
}

#[tokio::test]
async fn f15_capacity_is_given_back_if_the_token_ends_before_the_service_is_ready() {
    let (cache, control) = cache();
    let api = Api::default();
    let inner = {
        let api = api.clone();
        service_fn(move |request: Request<ReplayBody<Empty<Bytes>>>| api.clone().answer(request))
    };
    let late = Late {
        inner: ConcurrencyLimit::new(inner, 1),
        clock: control.clock.clone(),
        takes: Arc::default(),
    };
    let mut one = layer(&cache).layer(late.clone());
    let mut other = one.clone();
    let mut waiting = task::spawn(one.ready().await.unwrap().call(get()));
    assert_pending!(waiting.poll());
    let hours = Duration::from_secs(4000);
    late.takes.lock().unwrap().push(hours);
    control.asked().await.token("t1");
    settle().await;
    assert_pending!(waiting.poll(), "the token has ended");
    assert!(task::spawn(other.ready()).poll().is_ready());
    drop(other);
    control.asked().await.token("t2");
    settle().await;
    assert_eq!(waiting.await.unwrap().status(), 200);
    assert_eq!(api.bearers(), [Some("t2".into())]);
}

#[tokio::test]
async fn l37_a_future_that_is_done_holds_nothing() {
    struct Source(Arc<AtomicBool>);
    impl Drop for Source {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let gone = Arc::new(AtomicBool::new(false));
    let source = Source(gone.clone());
    let cache = TokenCache::new(source_fn(move |_| {
        let _held = &source;
        async { Ok(tower_bearer::Token::new("t1")?) }
    }));
    cache.token().await.unwrap();
    settle().await;
    let inner = service_fn(|_: Request<ReplayBody<Empty<Bytes>>>| {
        std::future::ready(Ok::<_, BoxError>(Response::new(())))
    });
    let mut service = layer(&cache).layer(inner);
    let mut request = task::spawn(service.ready().await.unwrap().call(get()));
    drop((service, cache));
    assert!(!gone.load(SeqCst), "the request still needs it");
    assert_eq!(assert_ready!(request.poll()).unwrap().status(), 200);
    assert!(gone.load(SeqCst));
}

#[tokio::test]
async fn f05_f06_nothing_is_sent_where_the_token_may_not_go() {
    let (cache, _control) = ready("t1").await;
    let api = Api::default();
    let send = |uri: &str| {
        let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
        authorized!(&cache, api).oneshot(request)
    };
    let error = send("https://api.example.evil.example/").await.unwrap_err();
    assert_eq!(
        *ours(&error),
        Kind::OriginNotAllowed("https://api.example.evil.example".into())
    );
    assert_eq!(
        error.to_string(),
        "the token may not go to https://api.example.evil.example: allow that origin on the layer, \
         or let requests to other origins pass without a token"
    );
    let error = send("http://api.example/").await.unwrap_err();
    assert_eq!(*ours(&error), Kind::Insecure("http://api.example".into()));
    let error = send("/things").await.unwrap_err();
    assert_eq!(*ours(&error), Kind::NoOrigin);
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn l25_g25_a_request_whose_host_header_names_another_host_is_not_sent() {
    let (cache, control) = ready("t1").await;
    let api = Api::default();
    let send = |hosts: &[&str]| {
        let mut request = get();
        for host in hosts {
            request.headers_mut().append("host", host.parse().unwrap());
        }
        let service = authorized!(&cache, api);
        async move { service.oneshot(request).await }
    };
    for hosts in [
        &["evil.example"][..],
        &["api.example:8443"],
        &["api.example", "evil.example"],
        &["api.example", "api.example"],
        &[""],
    ] {
        let error = send(hosts).await.unwrap_err();
        let Kind::HostMismatch(origin) = ours(&error) else {
            panic!("{error}");
        };
        assert_eq!(origin, "https://api.example");
    }
    assert!(api.seen().is_empty());
    for host in ["api.example", "API.example.:443"] {
        send(&[host]).await.unwrap();
    }
    assert_eq!(api.bearers(), vec![Some("t1".to_owned()); 2]);
    // Where no token goes along, the header is the caller's own affair.
    let service = authorized!(&cache, api);
    let mut request = get();
    let options = tower_bearer::RequestOptions::new().without_token();
    request.extensions_mut().insert(options);
    let other = "evil.example".parse().unwrap();
    request.headers_mut().insert("host", other);
    service.oneshot(request).await.unwrap();
    assert_eq!(api.bearers()[2], None);
    assert_eq!(control.calls(), 1);
}

#[tokio::test]
async fn an_own_header_does_not_get_past_the_origins() {
    let (cache, _control) = ready("t1").await;
    let api = Api::default();
    let mut request = Request::get("https://other.example/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    request
        .headers_mut()
        .insert("authorization", "Bearer own".parse().unwrap());
    let error = authorized!(&cache, api).oneshot(request).await.unwrap_err();
    assert!(matches!(ours(&error), Kind::OriginNotAllowed(_)));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_error_is_ours() {
    let (cache, control) = cache();
    let api = Api::default();
    let request = tokio::spawn(authorized!(&cache, api).oneshot(get()));
    let refused = tower_bearer::SourceError::invalid_credentials("the endpoint refused `ci-bot`");
    control.asked().await.answer(Err(refused));
    let error = request.await.unwrap().unwrap_err();
    assert_eq!(*ours(&error), Kind::InvalidCredentials);
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn g19_a_token_that_expires_while_the_service_is_not_ready_is_not_sent() {
    let (cache, control) = cache();
    let (inner, mut handle) =
        tower_test::mock::pair::<Request<ReplayBody<Empty<Bytes>>>, Response<()>>();
    handle.allow(1);
    let mut service = layer(&cache).layer(inner);
    let mut request = task::spawn(service.ready().await.unwrap().call(get()));
    handle.allow(0);
    assert_pending!(request.poll());
    control.asked().await.token("t1");
    settle().await;
    assert_pending!(request.poll(), "the clone must be readied anew");
    control.advance(4000.0);
    handle.allow(1);
    assert_pending!(request.poll());
    control.asked().await.token("t2");
    settle().await;
    handle.allow(1);
    assert_pending!(request.poll());
    let (sent, answer) = handle.next_request().await.unwrap();
    assert_eq!(sent.headers()["authorization"], "Bearer t2");
    answer.send_response(Response::new(()));
    assert_eq!(assert_ready!(request.poll()).unwrap().status(), 200);
}

#[test]
fn the_service_and_its_future_are_what_stacks_need() {
    fn check<S, B, R>(stack: &str)
    where
        S: Service<Request<ReplayBody<B>>>,
        BearerAuth<S>: Service<Request<B>, Response = Response<R>, Future: Send>,
        BearerAuth<S>: Clone + Send + Sync + std::fmt::Debug,
    {
        let service = size_of::<BearerAuth<S>>();
        let future = size_of::<<BearerAuth<S> as Service<Request<B>>>::Future>();
        println!("{stack}: BearerAuth {service} bytes, its future {future}");
        // Each layer around this one moves the future: a pointer, and the state if the inner future has no room for it.
        assert!(future <= size_of::<S::Future>() + 16, "{stack}");
        assert!(service <= size_of::<S>() + 8, "{stack}");
    }
    type Hyper<B> = legacy::Client<legacy::connect::HttpConnector, ReplayBody<B>>;
    check::<Hyper<Full<Bytes>>, Full<Bytes>, Incoming>("hyper, Full");
    check::<Hyper<Empty<Bytes>>, Empty<Bytes>, Incoming>("hyper, Empty");
    check::<Hyper<String>, String, Incoming>("hyper, String");
    check::<Hyper<Incoming>, Incoming, Incoming>("hyper, Incoming");
    type Boxed = http_body_util::combinators::BoxBody<Bytes, BoxError>;
    check::<Hyper<Boxed>, Boxed, Incoming>("hyper, BoxBody");
    check::<Hyper<axum::body::Body>, axum::body::Body, Incoming>("hyper, axum's Body");
    type Tonic = tonic::body::Body;
    type Mapped = tower::util::MapRequest<
        tonic::transport::Channel,
        fn(Request<ReplayBody<Tonic>>) -> Request<Tonic>,
    >;
    check::<Mapped, Tonic, Tonic>("tonic");
}

#[tokio::test]
async fn l42_debug_shows_the_inner_service_once_and_no_secret() {
    #[derive(Clone, Debug)]
    struct Inner;
    let (cache, _control) = ready("s3cr3t").await;
    let shown = format!("{:?}", layer(&cache).layer(Inner));
    assert_eq!(shown.matches("Inner").count(), 1, "{shown}");
    assert!(shown.contains("https://api.example"), "{shown}");
    assert!(!shown.contains("s3cr3t"), "{shown}");
}
