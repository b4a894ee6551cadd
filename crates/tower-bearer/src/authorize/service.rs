use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, header::AUTHORIZATION};
use http_body::Body;
use tower_service::Service;

use super::{
    body::ReplayBody,
    future::{Pending, ResponseFuture},
    layer::Rules,
    origin::Route,
};
use crate::{
    cache::TokenCache,
    error::BoxError,
    renewal::{Look, Want},
};

/// Stamps a bearer token onto each request, and heals a rejected one. See [`AuthorizeLayer`] and the
/// [module's docs](crate::authorize).
///
/// Its error is a [`BoxError`]: the inner service's own, or an [`Error`](crate::Error) of this crate
/// if the request was not sent.
///
/// [`AuthorizeLayer`]: crate::AuthorizeLayer
#[derive(Clone, Debug)]
pub struct Authorize<S> {
    inner: S,
    cache: TokenCache,
    rules: Arc<Rules>,
}

impl<S> Authorize<S> {
    pub(crate) fn new(inner: S, cache: TokenCache, rules: Arc<Rules>) -> Self {
        Self {
            inner,
            cache,
            rules,
        }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, to change.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service, taken out.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// The cache whose tokens are stamped.
    #[must_use]
    pub fn cache(&self) -> &TokenCache {
        &self.cache
    }
}

impl<S, B, R> Service<Request<B>> for Authorize<S>
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

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.rules.origins.route(request.uri()) {
            Err(error) => {
                // The service that was made ready is not called, so it gives its capacity back (G39).
                self.inner = self.inner.clone();
                return ResponseFuture::refused(error.into());
            }
            Ok(Route::Pass) => {}
            Ok(Route::Stamp) if request.headers().contains_key(AUTHORIZATION) => {}
            Ok(Route::Stamp) => return self.stamp_and_call(request),
        }
        ResponseFuture::passed(self.inner.call(request.map(ReplayBody::once)))
    }
}

impl<S> Authorize<S> {
    fn stamp_and_call<B, R>(&mut self, request: Request<B>) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
        S::Error: Into<BoxError>,
        B: Body,
    {
        let (head, body) = request.into_parts();
        let (body, replay) = ReplayBody::kept(body, self.rules.replay_limit);
        // The service that was made ready is the one that is called; its clone takes its place.
        let spare = self.inner.clone();
        let mut pending = Pending {
            service: mem::replace(&mut self.inner, spare),
            head,
            body,
            replay,
        };
        let cache = self.cache.clone();
        match cache.core().look(Want::ANY) {
            Look::Serve(token) => ResponseFuture::sent(cache, pending, &token),
            look => {
                // What waits must not hold the capacity of a service that is ready (G39).
                pending.service = pending.service.clone();
                ResponseFuture::waiting(cache, pending, look)
            }
        }
    }
}
