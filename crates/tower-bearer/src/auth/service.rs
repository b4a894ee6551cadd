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
            return self.call_closely(request);
        };
        let (response, sent) = attempt::first(shared.clone(), &mut self.inner, request, stamp);
        ResponseFuture::sent(response, Some(sent))
    }
}

impl<S: Clone> BearerAuth<S> {
    /// Handles any request.
    #[inline(never)]
    fn call_closely<B, R>(&mut self, mut request: Request<B>) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
        B: Body,
    {
        let mut shared = self.shared.own().clone();
        shared.stamper.clear(request.headers_mut());
        let has_own = match shared.stamper.restore(&mut request) {
            Ok(has_own) => has_own,
            Err(error) => {
                self.give_capacity_back();
                return ResponseFuture::refused(error);
            }
        };
        if let Some(cache) = RequestOptions::of(&request).other_cache() {
            shared = Arc::new(shared.with_cache(cache.clone()));
        }
        match shared.stamper.plan(&request, has_own) {
            Plan::Send(stamp) => {
                let (response, sent) = attempt::first(shared, &mut self.inner, request, stamp);
                ResponseFuture::sent(response, Some(sent))
            }
            Plan::Pass => {
                let response = self.inner.call(request.map(ReplayBody::once));
                ResponseFuture::sent(response, None)
            }
            Plan::Refuse(error) => {
                self.give_capacity_back();
                ResponseFuture::refused(error)
            }
            Plan::Wait(look) => {
                self.give_capacity_back();
                ResponseFuture::waiting(shared, self.inner.clone(), request, look)
            }
        }
    }

    /// Drops the service that was made ready and is not called now: others may need its capacity (G39).
    fn give_capacity_back(&mut self) {
        self.inner = self.inner.clone();
    }
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
