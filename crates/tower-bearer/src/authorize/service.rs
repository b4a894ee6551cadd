use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    Request, Response,
    header::{AUTHORIZATION, Entry},
};
use http_body::Body;
use tower_service::Service;

use super::{
    body::{NotReplayable, ReplayBody},
    future::{ResponseFuture, Unsent},
    layer::Shared,
    options::RequestOptions,
    origin::Route,
};
use crate::{
    cache::TokenCache,
    error::BoxError,
    renewal::{Look, Stamp, Want},
    shard::Shards,
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
    /// What each request's future holds, with a copy for each of a few threads.
    shared: Arc<Shards<Arc<Shared>>>,
}

impl<S> Authorize<S> {
    pub(crate) fn new(inner: S, shared: &Shared) -> Self {
        let shared = Arc::new(Shards::of(|| Arc::new(shared.clone())));
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
        &self.shared.own().cache
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

    #[inline]
    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let shared = self.shared.own().clone();
        if shared.rules.overwrite {
            request.headers_mut().remove(AUTHORIZATION);
        }
        let options = request.extensions().get::<RequestOptions>();
        let route = match options.is_none_or(RequestOptions::wants_token) {
            true => shared.rules.origins.route(request.uri()),
            false => Ok(Route::Pass),
        };
        match route {
            Ok(Route::Stamp) => self.stamp_and_call(shared, request),
            Ok(Route::Pass) => self.pass(request),
            Err(error) => {
                // The service that was made ready is not called, so it gives its capacity back (G39).
                self.inner = self.inner.clone();
                ResponseFuture::refused(error.into())
            }
        }
    }
}

impl<S> Authorize<S> {
    /// Sends a request as it is.
    fn pass<B, R>(&mut self, request: Request<B>) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
        B: Body,
    {
        ResponseFuture::passed(self.inner.call(request.map(ReplayBody::once)))
    }

    #[inline]
    fn stamp_and_call<B, R>(
        &mut self,
        mut shared: Arc<Shared>,
        request: Request<B>,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
        S::Error: Into<BoxError>,
        B: Body,
    {
        let options = request.extensions().get::<RequestOptions>();
        if let Some(cache) = options.and_then(RequestOptions::other_cache) {
            shared = Arc::new(Shared {
                cache: cache.clone(),
                rules: shared.rules.clone(),
            });
        }
        let want = options.map(RequestOptions::want).unwrap_or_default();
        let retry = shared.rules.retry && options.is_none_or(RequestOptions::wants_retry);
        let fresh = shared.cache.core().fresh(want);
        match fresh {
            Some(stamp) if !retry => self.call_once(shared, request, stamp, want),
            fresh => self.call_kept(shared, request, fresh, want, retry),
        }
    }

    /// Stamps and sends a request that is not sent again. It is the shortest way, and so its own.
    #[inline]
    fn call_once<B, R>(
        &mut self,
        shared: Arc<Shared>,
        mut request: Request<B>,
        stamp: Stamp,
        want: Want,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
        B: Body,
    {
        let sent_to = shared.place_sent_to(request.uri());
        match request.headers_mut().entry(AUTHORIZATION) {
            // A caller's own header wins (G27).
            Entry::Occupied(_) => return self.pass(request),
            Entry::Vacant(place) => {
                place.insert(stamp.header);
            }
        }
        let response = self.inner.call(request.map(ReplayBody::once));
        ResponseFuture::sent_once(shared, response, stamp.generation, sent_to, want)
    }

    /// Stamps and sends a request that may be sent again, or has to wait for a token.
    fn call_kept<B, R>(
        &mut self,
        shared: Arc<Shared>,
        request: Request<B>,
        fresh: Option<Stamp>,
        want: Want,
        retry: bool,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
        S::Error: Into<BoxError>,
        B: Body,
    {
        // A caller's own header wins (G27).
        if request.headers().contains_key(AUTHORIZATION) {
            return self.pass(request);
        }
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
        let look = match fresh {
            Some(stamp) => return ResponseFuture::sent(shared, &mut self.inner, unsent, stamp),
            None => shared.cache.core().look(want),
        };
        match look {
            // The service that was made ready is the one that is called.
            Look::Serve(token) => {
                ResponseFuture::sent(shared, &mut self.inner, unsent, token.into())
            }
            look => {
                // What waits must not hold the capacity of a service that is ready (G39).
                let spare = self.inner.clone();
                let ready = mem::replace(&mut self.inner, spare);
                ResponseFuture::waiting(shared, ready.clone(), unsent, look)
            }
        }
    }
}
