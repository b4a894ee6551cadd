use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{
    Extensions, HeaderMap, HeaderValue, Request, Response, Uri,
    header::{AUTHORIZATION, Entry},
};
use http_body::Body;
use tower_service::Service;

use super::{
    body::ReplayBody,
    future::{Kept, ResponseFuture, Sending, Sent, State, Unsent},
    layer::{BearerAuthLayer, Shared},
    options::RequestOptions,
    origin::Route,
};
use crate::{
    cache::TokenCache,
    error::{BoxError, Error},
    refresh::{Look, Stamp, Want},
    shard::Shards,
};

/// Stamps a bearer token onto each request, and heals a rejected one. See [`BearerAuthLayer`] and the
/// [module's docs](crate::auth).
///
/// Its error is a [`BoxError`]: the inner service's own, or an [`Error`](crate::Error) of this crate
/// if the request was not sent.
///
/// [`BearerAuthLayer`]: crate::BearerAuthLayer
#[derive(Clone, Debug)]
pub struct BearerAuth<S> {
    inner: S,
    /// What all clones share, and the futures of requests that may be sent again hold: with a copy for each of
    /// a few threads.
    shared: Arc<Shards<Arc<Shared<S>>>>,
}

impl<S> BearerAuth<S> {
    pub(crate) fn new(inner: S, shared: &Shared<S>) -> Self {
        let shared = Arc::new(Shards::of(|| Arc::new(shared.clone())));
        Self { inner, shared }
    }

    /// The inner service. It cannot be changed in its place, since requests are sent again through clones of
    /// it as it was once it was first called: take it out, and layer it anew.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, taken out.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// The cache whose tokens are stamped.
    #[must_use]
    pub fn cache(&self) -> &TokenCache {
        &self.shared.own().layer.cache
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

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.shared.own().layer.rules.sends_once() {
            true => self.call_once(request),
            false => self.call_keeping(request),
        }
    }
}

// A request is moved whenever it is handed to a function after something was changed in it. So each of these
// does all to a request that most need, and hands on what few do.
impl<S: Clone> BearerAuth<S> {
    /// Sends a request of which nothing is kept.
    #[inline]
    fn call_once<B, R>(&mut self, mut request: Request<B>) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
        B: Body,
    {
        let shared = self.shared.own();
        let Some(generation) = shared.layer.stamp_plainly(&mut request) else {
            return self.call_closely(request);
        };
        let sent = Sent::once(shared.layer.cache.core().number, generation);
        let response = self.inner.call(request.map(ReplayBody::once));
        ResponseFuture {
            state: State::Sent { response, sent },
        }
    }

    /// Sends a request that may be sent again.
    #[inline(never)]
    fn call_keeping<B, R>(&mut self, mut request: Request<B>) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
        B: Body,
    {
        let shared = self.shared.own();
        let Some(stamp) = shared
            .layer
            .plain_stamp(request.uri(), request.extensions())
        else {
            return self.call_closely(request);
        };
        let sending = Sending {
            remaining: Duration::ZERO,
            retry: shared.layer.rules.retry,
        };
        let limit = shared.layer.rules.replay_limit;
        // The copy is made first: it is sent with another token, if at all, and never with its caller's.
        if shared.layer.rules.overwrite {
            request.headers_mut().remove(AUTHORIZATION);
        }
        let generation = stamp.generation;
        let mut kept = Kept::of(shared.clone(), &request, sending, generation);
        if !shared.layer.put(stamp.header, request.headers_mut()) {
            return self.call_closely(request);
        }
        let response = self.inner.call(request.map(|body| kept.body(body, limit)));
        kept.keep_spare(&self.inner);
        let sent = Sent::Kept(kept);
        ResponseFuture {
            state: State::Sent { response, sent },
        }
    }

    /// Does whatever is to be done with a request.
    #[inline(never)]
    fn call_closely<B, R>(&mut self, mut request: Request<B>) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
        B: Body,
    {
        let mut shared = self.shared.own().clone();
        if shared.layer.rules.overwrite {
            request.headers_mut().remove(AUTHORIZATION);
        }
        match Plan::of(&mut shared, &request) {
            Plan::Send(sending, stamp) => ResponseFuture {
                state: State::sent(shared, &mut self.inner, request, sending, stamp),
            },
            Plan::Pass => {
                let sent = Sent::unstamped(shared.layer.cache.core().number);
                let response = self.inner.call(request.map(ReplayBody::once));
                ResponseFuture {
                    state: State::Sent { response, sent },
                }
            }
            Plan::Refuse(error) => {
                // The service that was made ready is not called, so it gives its capacity back (G39).
                self.inner = self.inner.clone();
                ResponseFuture::refused(error.into())
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
                ResponseFuture::waiting(shared, unsent, look)
            }
        }
    }
}

/// What becomes of a request.
enum Plan {
    /// It is stamped and sent.
    Send(Sending, Stamp),
    /// It goes as it is.
    Pass,
    Refuse(Error),
    Wait(Sending, Look),
}

impl Plan {
    /// Looks for a token if the request gets one. Its options may name another cache.
    fn of<S, B>(shared: &mut Arc<Shared<S>>, request: &Request<B>) -> Self {
        let options = request.extensions().get::<RequestOptions>();
        if options.is_some_and(|options| !options.wants_token()) {
            return Self::Pass;
        }
        match shared.layer.rules.origins.route(request.uri()) {
            // A caller's own header wins (G27).
            Ok(Route::Stamp) if !request.headers().contains_key(AUTHORIZATION) => {}
            Ok(_) => return Self::Pass,
            Err(error) => return Self::Refuse(error),
        }
        if let Some(cache) = options.and_then(RequestOptions::other_cache) {
            *shared = Arc::new(shared.with_cache(cache.clone()));
        }
        let sending = Sending {
            remaining: options.map_or(Duration::ZERO, RequestOptions::remaining),
            retry: shared.layer.rules.retry && options.is_none_or(RequestOptions::wants_retry),
        };
        let core = shared.layer.cache.core();
        let stamp = match core.fresh(sending.remaining) {
            Some(stamp) => stamp,
            None => match core.look(Want::lasting(sending.remaining)) {
                // The service that was made ready is the one that is called.
                Look::Serve(token) => Stamp::from(token),
                look => return Self::Wait(sending, look),
            },
        };
        Self::Send(sending, stamp)
    }
}

impl BearerAuthLayer {
    /// Stamps a request as nearly all can be. Else it stays as it is.
    #[inline]
    fn stamp_plainly<B>(&self, request: &mut Request<B>) -> Option<u64> {
        let stamp = self.plain_stamp(request.uri(), request.extensions())?;
        let is_put = self.put(stamp.header, request.headers_mut());
        is_put.then_some(stamp.generation)
    }

    /// A stamp for a request as nearly all are: an allowed origin is written plainly, nothing is asked for,
    /// and the token is fresh.
    #[inline(never)]
    fn plain_stamp(&self, uri: &Uri, extensions: &Extensions) -> Option<Stamp> {
        let is_plain =
            self.rules.origins.plainly_allow(uri) && extensions.get::<RequestOptions>().is_none();
        match is_plain {
            true => self.cache.core().fresh(Duration::ZERO),
            false => None,
        }
    }

    /// Puts the token's header among the others, unless the caller has one that wins (G27).
    #[inline(never)]
    fn put(&self, header: HeaderValue, headers: &mut HeaderMap) -> bool {
        if self.rules.overwrite {
            headers.insert(AUTHORIZATION, header);
            return true;
        }
        // It is looked up once: nearly always there is none yet.
        let has_own = headers.append(AUTHORIZATION, header);
        if has_own {
            take_back(headers);
        }
        !has_own
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
