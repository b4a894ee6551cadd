//! What a request holds while it waits for its retry, and lets go of.

use std::{
    future::{Future, Ready, ready as done},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_test::{assert_pending, assert_ready, task};
use tokio_util::sync::PollSemaphore;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_bearer::{AuthOutcome, BoxError, Kind, NotRetried, ReplayBody, Report};

use crate::{
    api::{get, layer, ours, ready},
    support::settle,
};

#[derive(Debug)]
struct Dropped(Arc<Mutex<Vec<&'static str>>>, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(self.1);
    }
}

#[tokio::test]
async fn l38_without_its_first_response_the_reason_is_the_answer() {
    let (cache, control) = ready("t1").await;
    let (inner, mut handle) =
        tower_test::mock::pair::<Request<ReplayBody<Empty<Bytes>>>, Response<()>>();
    handle.allow(1);
    let mut request = task::spawn(layer(&cache).layer(inner).oneshot(get()));
    assert_pending!(request.poll());
    let (_, answer) = handle.next_request().await.unwrap();
    handle.allow(0);
    answer.send_response(Response::builder().status(401).body(()).unwrap());
    assert_pending!(request.poll());
    control.asked().await.token("t2");
    settle().await;
    assert_pending!(request.poll(), "the service has no capacity");
    control.advance(3600.0);
    handle.allow(1);
    assert_pending!(request.poll(), "the new token has ended");
    let refused = tower_bearer::SourceError::invalid_credentials("no");
    control.asked().await.answer(Err(refused));
    settle().await;
    let error = assert_ready!(request.poll()).unwrap_err();
    assert_eq!(*ours(&error), Kind::InvalidCredentials);
}

/// A service with permits that live in the bodies of its responses. It rejects the first token.
struct Permits {
    permits: Arc<Semaphore>,
    waiting: PollSemaphore,
    own: Option<OwnedSemaphorePermit>,
}

impl Permits {
    fn new(permits: usize) -> Self {
        let permits = Arc::new(Semaphore::new(permits));
        let waiting = PollSemaphore::new(permits.clone());
        let own = None;
        Self {
            permits,
            waiting,
            own,
        }
    }
}

impl Clone for Permits {
    fn clone(&self) -> Self {
        Self {
            permits: self.permits.clone(),
            waiting: PollSemaphore::new(self.permits.clone()),
            own: None,
        }
    }
}

impl Service<Request<ReplayBody<Empty<Bytes>>>> for Permits {
    type Response = Response<OwnedSemaphorePermit>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.own.is_none() {
            self.own = std::task::ready!(self.waiting.poll_acquire(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<Empty<Bytes>>>) -> Self::Future {
        let permit = self.own.take().expect("it was made ready");
        let is_first = request.headers()["authorization"] == "Bearer t1";
        let status = if is_first { 401 } else { 200 };
        let response = Response::builder().status(status).body(permit).unwrap();
        Box::pin(async move {
            // All requests are under way before the first is answered.
            tokio::task::yield_now().await;
            Ok(response)
        })
    }
}

#[tokio::test]
async fn l05_responses_that_hold_all_permits_do_not_keep_their_retries_from_them() {
    for (permits, lets_go) in [(1, false), (8, false), (8, true)] {
        let (cache, control) = ready("t1").await;
        control.answer_all();
        let inner = Permits::new(permits);
        let layer = match lets_go {
            true => layer(&cache).drop_rejected_responses(),
            false => layer(&cache),
        };
        let service = layer.layer(inner);
        let requests: Vec<_> = (0..permits)
            .map(|_| tokio::spawn(service.clone().oneshot(get())))
            .collect();
        for request in requests {
            let sent = tokio::time::timeout(Duration::from_secs(20), request);
            let response = sent.await.expect("no hang").unwrap().unwrap();
            assert_eq!(response.status(), 200);
        }
        assert_eq!(control.calls(), 2);
    }
}

#[tokio::test]
async fn l05_with_the_other_token_at_hand_nothing_is_held_either() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let inner = Permits::new(1);
    let service = layer(&cache).layer(inner);
    let mut request = task::spawn(service.clone().oneshot(get()));
    assert_pending!(request.poll());
    // The next token comes while the first attempt is under way.
    cache.refresh().await.unwrap();
    let response = tokio::time::timeout(Duration::from_secs(20), request)
        .await
        .expect("no hang")
        .unwrap();
    assert_eq!(response.status(), 200);
}

/// A service that rejects a token, and whose readiness fails ever after.
#[derive(Clone, Default)]
struct Broken(Arc<AtomicBool>);

#[derive(Debug)]
struct BrokenPipe;

impl std::fmt::Display for BrokenPipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken pipe")
    }
}

impl std::error::Error for BrokenPipe {}

impl Service<Request<ReplayBody<Empty<Bytes>>>> for Broken {
    type Response = Response<&'static str>;
    type Error = BoxError;
    type Future = Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(match self.0.load(SeqCst) {
            true => Err(BrokenPipe.into()),
            false => Ok(()),
        })
    }

    fn call(&mut self, _: Request<ReplayBody<Empty<Bytes>>>) -> Self::Future {
        self.0.store(true, SeqCst);
        done(Ok(Response::builder().status(401).body("no").unwrap()))
    }
}

#[tokio::test]
async fn l38_if_the_service_is_never_ready_again_the_rejection_is_the_answer() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let service = layer(&cache).layer(Broken::default());
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!((response.status().as_u16(), *response.body()), (401, "no"));
    let outcome = response.extensions().get::<AuthOutcome>().unwrap();
    let why = outcome.not_retried().unwrap();
    assert!(matches!(why, NotRetried::NotReady(error) if error.is::<BrokenPipe>()));
    assert_eq!(
        Report::new(why).to_string(),
        "the HTTP client was not ready for a retry; caused by: broken pipe"
    );
    assert!(!outcome.retried());
}

#[tokio::test]
async fn l38_a_response_that_was_let_go_of_leaves_its_reason() {
    for (fails, expected) in [(false, Kind::InvalidCredentials), (true, Kind::Unavailable)] {
        let (cache, control) = ready("t1").await;
        let inner = service_fn(|_: Request<ReplayBody<Empty<Bytes>>>| {
            done(Ok::<_, BoxError>(
                Response::builder().status(401).body(()).unwrap(),
            ))
        });
        let layer = layer(&cache).drop_rejected_responses();
        let request = tokio::spawn(layer.layer(inner).oneshot(get()));
        let refused = match fails {
            true => tower_bearer::SourceError::transient("down"),
            false => tower_bearer::SourceError::invalid_credentials("no"),
        };
        control.asked().await.answer(Err(refused));
        let error = request.await.unwrap().unwrap_err();
        assert_eq!(*ours(&error), expected);
    }
}

#[tokio::test]
async fn l06_a_layer_may_let_go_of_a_rejection_before_it_waits() {
    for lets_go in [false, true] {
        let (cache, control) = ready("t1").await;
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = log.clone();
        let inner = service_fn(move |_: Request<ReplayBody<Empty<Bytes>>>| {
            let first = seen.lock().unwrap().is_empty();
            seen.lock().unwrap().push("sent");
            let body = Dropped(seen.clone(), if first { "first gone" } else { "gone" });
            let response = Response::builder().status(if first { 401 } else { 200 });
            done(Ok::<_, BoxError>(response.body(body).unwrap()))
        });
        let layer = match lets_go {
            true => layer(&cache).drop_rejected_responses(),
            false => layer(&cache),
        };
        let mut request = task::spawn(layer.layer(inner).oneshot(get()));
        assert_pending!(request.poll());
        let held: &[_] = if lets_go {
            &["sent", "first gone"]
        } else {
            &["sent"]
        };
        assert_eq!(*log.lock().unwrap(), held);
        control.asked().await.token("t2");
        settle().await;
        let response = assert_ready!(request.poll()).unwrap();
        assert_eq!(*log.lock().unwrap(), ["sent", "first gone", "sent"]);
        drop(response);
    }
}

#[tokio::test]
async fn d19_the_first_response_is_dropped_before_the_request_is_sent_again() {
    let (cache, control) = ready("t1").await;
    control.answer_all();
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = log.clone();
    let inner = service_fn(move |_: Request<ReplayBody<Empty<Bytes>>>| {
        let first = seen.lock().unwrap().is_empty();
        seen.lock().unwrap().push("sent");
        let (status, name) = if first {
            (401, "first gone")
        } else {
            (200, "second gone")
        };
        let body = Dropped(seen.clone(), name);
        async move { Ok::<_, BoxError>(Response::builder().status(status).body(body).unwrap()) }
    });
    let response = layer(&cache).layer(inner).oneshot(get()).await.unwrap();
    assert_eq!(*log.lock().unwrap(), ["sent", "first gone", "sent"]);
    drop(response);
}
