use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Request, Response,
    header::{AUTHORIZATION, Entry},
};
use http_body::Body;
use tower_service::Service;

use super::{
    body::ReplayBody,
    future::{ResponseFuture, Sending, Sent, State, Unsent},
    layer::Shared,
    options::RequestOptions,
    origin::Route,
};
use crate::{
    cache::TokenCache,
    error::{BoxError, Error},
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
        let mut shared = self.shared.own().clone();
        if shared.rules.overwrite {
            request.headers_mut().remove(AUTHORIZATION);
        }
        let plan = match shared.stamp_plainly(&mut request) {
            Some(generation) => {
                let sending = Sending {
                    remaining: Duration::ZERO,
                    retry: shared.rules.retry,
                };
                Plan::Send(sending, generation)
            }
            None => Plan::of(&mut shared, &mut request),
        };
        let mut stamped = match plan {
            Plan::Send(sending, generation) => {
                let (inner, request) = (&self.inner, &request);
                Some(Sent::first(shared, inner, request, sending, generation))
            }
            Plan::Pass => None,
            Plan::Refuse(error) => {
                // The service that was made ready is not called, so it gives its capacity back (G39).
                self.inner = self.inner.clone();
                return ResponseFuture::refused(error.into());
            }
            Plan::Wait(sending, look) => {
                // What waits must not hold the capacity of a service that is ready (G39).
                let spare = self.inner.clone();
                let service = mem::replace(&mut self.inner, spare).clone();
                let unsent = Unsent {
                    service,
                    request,
                    sending,
                };
                return ResponseFuture::waiting(shared, unsent, look);
            }
        };
        // As `Sent::send` does; but a request that is handed to one more function is moved once more.
        if let Some((kept, limit)) = stamped.as_mut().and_then(Sent::keeps) {
            let response = self.inner.call(request.map(|body| kept.body(body, limit)));
            return ResponseFuture {
                state: State::Sent { response, stamped },
            };
        }
        let response = self.inner.call(request.map(ReplayBody::once));
        ResponseFuture {
            state: State::Sent { response, stamped },
        }
    }
}

/// What becomes of a request.
enum Plan {
    /// It is stamped with the token of this generation.
    Send(Sending, u64),
    /// It goes as it is.
    Pass,
    Refuse(Error),
    Wait(Sending, Look),
}

impl Plan {
    /// Stamps a request if there is a token for it. Its options may name another cache.
    #[inline(never)]
    fn of<B>(shared: &mut Arc<Shared>, request: &mut Request<B>) -> Self {
        let options = request.extensions().get::<RequestOptions>();
        if options.is_some_and(|options| !options.wants_token()) {
            return Self::Pass;
        }
        match shared.rules.origins.route(request.uri()) {
            // A caller's own header wins (G27).
            Ok(Route::Stamp) if !request.headers().contains_key(AUTHORIZATION) => {}
            Ok(_) => return Self::Pass,
            Err(error) => return Self::Refuse(error),
        }
        if let Some(cache) = options.and_then(RequestOptions::other_cache) {
            *shared = Arc::new(Shared {
                cache: cache.clone(),
                rules: shared.rules.clone(),
            });
        }
        let sending = Sending {
            remaining: options.map_or(Duration::ZERO, RequestOptions::remaining),
            retry: shared.rules.retry && options.is_none_or(RequestOptions::wants_retry),
        };
        let core = shared.cache.core();
        let stamp = match core.fresh(sending.remaining) {
            Some(stamp) => stamp,
            None => match core.look(Want::lasting(sending.remaining)) {
                // The service that was made ready is the one that is called.
                Look::Serve(token) => Stamp::from(token),
                look => return Self::Wait(sending, look),
            },
        };
        request.headers_mut().insert(AUTHORIZATION, stamp.header);
        Self::Send(sending, stamp.generation)
    }
}

impl Shared {
    /// Stamps a request as nearly all can be: an allowed origin is written plainly, nothing is asked for,
    /// there is no header of the caller's own, and the token is fresh. Else it stays as it is.
    #[inline]
    fn stamp_plainly<B>(&self, request: &mut Request<B>) -> Option<u64> {
        let is_plain = self.rules.origins.plainly_allow(request.uri())
            && request.extensions().get::<RequestOptions>().is_none();
        if !is_plain {
            return None;
        }
        let stamp = self.cache.core().fresh(Duration::ZERO)?;
        // The header is looked up once: nearly always there is none yet.
        if request.headers_mut().append(AUTHORIZATION, stamp.header) {
            take_back(request.headers_mut());
            return None;
        }
        Some(stamp.generation)
    }
}

/// Takes the last value of the header off again, and leaves the caller's own as they were.
#[cold]
fn take_back(headers: &mut HeaderMap) {
    let Entry::Occupied(mut place) = headers.entry(AUTHORIZATION) else {
        return;
    };
    let mut own: Vec<HeaderValue> = place.iter().cloned().collect();
    own.pop();
    let mut own = own.into_iter();
    if let Some(first) = own.next() {
        place.insert(first);
    }
    for value in own {
        place.append(value);
    }
}
