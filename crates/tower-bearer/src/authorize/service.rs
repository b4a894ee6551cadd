use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, header::AUTHORIZATION};
use http_body::Body;
use tower_service::Service;

use super::{
    body::{NotReplayable, ReplayBody},
    future::{ResponseFuture, Unsent},
    layer::Shared,
    options::RequestOptions,
    origin::Route,
};
use crate::{cache::TokenCache, error::BoxError, renewal::Look};

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
    shared: Arc<Shared>,
}

impl<S> Authorize<S> {
    pub(crate) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
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
        &self.shared.cache
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let rules = &self.shared.rules;
        if rules.overwrite {
            request.headers_mut().remove(AUTHORIZATION);
        }
        let options = request.extensions().get::<RequestOptions>();
        let route = match options.is_none_or(RequestOptions::wants_token) {
            true => rules.origins.route(request.uri()),
            false => Ok(Route::Pass),
        };
        match route {
            Err(error) => {
                // The service that was made ready is not called, so it gives its capacity back (G39).
                self.inner = self.inner.clone();
                ResponseFuture::refused(error.into())
            }
            // A caller's own header wins (G27).
            Ok(Route::Stamp) if !request.headers().contains_key(AUTHORIZATION) => {
                self.stamp_and_call(request)
            }
            Ok(Route::Stamp | Route::Pass) => {
                ResponseFuture::passed(self.inner.call(request.map(ReplayBody::once)))
            }
        }
    }
}

impl<S> Authorize<S> {
    #[inline]
    fn stamp_and_call<B, R>(&mut self, request: Request<B>) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
        S::Error: Into<BoxError>,
        B: Body,
    {
        let options = request.extensions().get::<RequestOptions>();
        let shared = match options.and_then(RequestOptions::other_cache) {
            None => self.shared.clone(),
            Some(cache) => Arc::new(Shared {
                cache: cache.clone(),
                rules: self.shared.rules.clone(),
            }),
        };
        let want = options.map(RequestOptions::want).unwrap_or_default();
        let retry = shared.rules.retry && options.is_none_or(RequestOptions::wants_retry);
        let mut replay = Err(NotReplayable::TurnedOff);
        let request = request.map(|body| match retry {
            true => {
                let (body, kept) = ReplayBody::kept(body, shared.rules.replay_limit);
                replay = kept;
                body
            }
            false => ReplayBody::once(body),
        });
        let unsent = Unsent {
            request,
            replay,
            want,
        };
        match shared.cache.core().look(want) {
            // The service that was made ready is the one that is called.
            Look::Serve(token) => ResponseFuture::sent(shared, &mut self.inner, unsent, token),
            look => {
                // What waits must not hold the capacity of a service that is ready (G39).
                let spare = self.inner.clone();
                let ready = mem::replace(&mut self.inner, spare);
                ResponseFuture::waiting(shared, ready.clone(), unsent, look)
            }
        }
    }
}
