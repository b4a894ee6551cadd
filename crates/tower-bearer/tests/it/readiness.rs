//! The inner service's readiness: only what was made ready is called.

use std::{
    future::{Ready, ready as done},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tower::{Layer, Service, ServiceExt};
use tower_bearer::{BoxError, ReplayBody};

use crate::{
    api::{get, layer, ready},
    support::cache,
};

/// A service that counts calls of a clone that was not ready, and rejects every second request.
#[derive(Default)]
struct Strict {
    ready: bool,
    calls: Arc<AtomicUsize>,
    unready: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self {
            // What was reserved belongs to the original.
            ready: false,
            calls: self.calls.clone(),
            unready: self.unready.clone(),
        }
    }
}

impl Service<Request<ReplayBody<Empty<Bytes>>>> for Strict {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<ReplayBody<Empty<Bytes>>>) -> Self::Future {
        if !std::mem::take(&mut self.ready) {
            self.unready.fetch_add(1, SeqCst);
        }
        let status = match self.calls.fetch_add(1, SeqCst) % 2 {
            0 => 401,
            _ => 200,
        };
        done(Ok(Response::builder().status(status).body(()).unwrap()))
    }
}

#[tokio::test]
async fn f10_the_clone_that_was_made_ready_is_the_one_that_is_called() {
    // With a token at hand, and with one that must be waited for.
    for filled in [true, false] {
        let (cache, control) = match filled {
            true => ready("t1").await,
            false => cache(),
        };
        control.answer_all();
        let strict = Strict::default();
        let mut service = layer(&cache).layer(strict.clone());
        for _ in 0..3 {
            let response = service.ready().await.unwrap().call(get()).await.unwrap();
            assert_eq!(response.status(), 200);
            control.advance(10.0);
        }
        assert_eq!(strict.calls.load(SeqCst), 6, "each was sent again");
        assert_eq!(strict.unready.load(SeqCst), 0, "filled: {filled}");
    }
}

/// A service that counts its clones.
struct Cloned(Arc<AtomicUsize>);

impl Clone for Cloned {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, SeqCst);
        Self(self.0.clone())
    }
}

impl Service<Request<ReplayBody<Empty<Bytes>>>> for Cloned {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<ReplayBody<Empty<Bytes>>>) -> Self::Future {
        done(Ok(Response::new(())))
    }
}

#[tokio::test]
async fn the_inner_service_is_cloned_for_retries_once_and_not_for_each_request() {
    let (cache, _control) = ready("t1").await;
    let clones = Arc::new(AtomicUsize::new(0));
    let mut service = layer(&cache).layer(Cloned(clones.clone()));
    for _ in 0..3 {
        service.ready().await.unwrap().call(get()).await.unwrap();
    }
    assert_eq!(clones.load(SeqCst), 1);
    let without = Arc::new(AtomicUsize::new(0));
    let mut service = layer(&cache).without_retry().layer(Cloned(without.clone()));
    service.ready().await.unwrap().call(get()).await.unwrap();
    assert_eq!(without.load(SeqCst), 0);
}
