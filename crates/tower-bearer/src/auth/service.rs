use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    attach::{Plan, Stamper},
    attempt::{self, Shared},
    future::ResponseFuture,
    options::RequestOptions,
    replay::ReplayBody,
};
use crate::{cache::TokenCache, error::BoxError, shard::Shards};

/// Stamps a bearer token onto each request, and retries a request whose token was rejected.
///
/// [`BearerAuthLayer`](crate::BearerAuthLayer) makes it; the [module's docs](crate::auth) say what it does.
///
/// Its error is a [`BoxError`]: the inner service's own, or an [`Error`](crate::Error) of this crate
/// if the request was not sent.
#[derive(Clone)]
pub struct BearerAuth<S> {
    inner: S,
    shared: Arc<Copies<S>>,
}

/// Copies of [`Shared`], one for each of a few threads.
///
/// Each request holds one of them until its response arrives. If all threads counted references to the same
/// one, they would wait for each other.
struct Copies<S> {
    /// What a copy is made of.
    stamper: Stamper,
    copies: Shards<Arc<Shared<S>>>,
}

impl<S> Copies<S> {
    /// Returns this thread's copy.
    fn own(&self) -> &Arc<Shared<S>> {
        self.copies
            .own(|| Arc::new(Shared::new(self.stamper.clone())))
    }
}

impl<S> BearerAuth<S> {
    pub(super) fn new(inner: S, stamper: Stamper) -> Self {
        let copies = Shards::default();
        Self {
            inner,
            shared: Arc::new(Copies { stamper, copies }),
        }
    }

    /// Returns the inner service that the next request goes through.
    ///
    /// It takes turns with a clone, through which requests are retried. So there is no `get_mut`: to
    /// change the inner service, take it out and layer it again.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Returns the cache whose tokens are stamped.
    #[must_use]
    pub fn cache(&self) -> &TokenCache {
        &self.shared.stamper.cache
    }
}

impl<S, B, R> Service<Request<B>> for BearerAuth<S>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    // Most requests take this path, which is short because a request that is passed on by value is copied.
    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = self.shared.own();
        let Some(stamp) = shared.stamper.plain_stamp(&request) else {
            let shared = shared.clone();
            return call_closely(&mut self.inner, shared, request);
        };
        let (response, sent) = attempt::first(shared.clone(), &mut self.inner, request, stamp);
        ResponseFuture::sent(response, Some(sent))
    }
}

/// Sends one request through a service that is ready and is made for this request alone.
pub(super) fn call_once<S, B, R>(
    mut inner: S,
    stamper: Stamper,
    request: Request<B>,
) -> ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    B: Body,
{
    let shared = Arc::new(Shared::new(stamper));
    match shared.stamper.plain_stamp(&request) {
        Some(stamp) => {
            let (response, sent) = attempt::first(shared, &mut inner, request, stamp);
            ResponseFuture::sent(response, Some(sent))
        }
        None => call_closely(&mut inner, shared, request),
    }
}

/// Handles any request.
#[inline(never)]
fn call_closely<S, B, R>(
    inner: &mut S,
    mut shared: Arc<Shared<S>>,
    mut request: Request<B>,
) -> ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    B: Body,
{
    shared.stamper.clear(request.headers_mut());
    let has_own = match shared.stamper.restore(&mut request) {
        Ok(has_own) => has_own,
        Err(error) => {
            give_capacity_back(inner);
            return ResponseFuture::refused(error);
        }
    };
    if let Some(cache) = RequestOptions::of(&request).other_cache() {
        shared = Arc::new(shared.with_cache(cache.clone()));
    }
    match shared.stamper.plan(&request, has_own) {
        Plan::Send(stamp) => {
            let (response, sent) = attempt::first(shared, inner, request, stamp);
            ResponseFuture::sent(response, Some(sent))
        }
        Plan::Pass => {
            let response = inner.call(request.map(ReplayBody::once));
            ResponseFuture::sent(response, None)
        }
        Plan::Refuse(error) => {
            give_capacity_back(inner);
            ResponseFuture::refused(error)
        }
        Plan::Wait(look) => {
            give_capacity_back(inner);
            ResponseFuture::waiting(shared, inner.clone(), request, look)
        }
    }
}

/// Drops the service that was made ready and is not called now: others may need its capacity (G39).
fn give_capacity_back<S: Clone>(inner: &mut S) {
    *inner = inner.clone();
}

impl<S: fmt::Debug> fmt::Debug for BearerAuth<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerAuth")
            .field("inner", &self.inner)
            .field("cache", &self.shared.stamper.cache)
            .field("rules", &self.shared.stamper.rules)
            .finish()
    }
}
