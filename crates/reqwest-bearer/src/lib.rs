//! Bearer tokens for [`reqwest_middleware`]: fetched, cached, refreshed ahead of their expiry, stamped, and
//! replaced inside the request whose token was rejected.
//!
//! All that [`tower_bearer`]'s layer does, for reqwest: the same cache, the same rules.
//!
//! ```
//! use reqwest_bearer::BearerAuthMiddleware;
//! use reqwest_middleware::ClientBuilder;
//! use tower_bearer::{BearerAuthLayer, TokenCache};
//!
//! # fn example(cache: TokenCache, client: reqwest::Client) -> Result<(), tower_bearer::InvalidOrigin> {
//! let layer = BearerAuthLayer::new(cache).allow("https://api.example")?;
//! let client = ClientBuilder::new(client)
//!     .with(BearerAuthMiddleware::new(layer))
//!     .build();
//! # drop(client);
//! # Ok(())
//! # }
//! ```
//!
//! With runai-auth the layer is `auth.layer()`.
//!
//! # Bodies
//!
//! A body that is in memory (text, JSON, a form) is sent again whatever its size, since reqwest holds it
//! anyway. A stream is kept up to the layer's [`replay_limit`](tower_bearer::BearerAuthLayer::replay_limit)
//! while it is sent.
//!
//! # Redirects
//!
//! reqwest follows redirects inside this middleware, and leaves the `Authorization` header behind when
//! one leads to another host or port. A 401 from there rejects no token, since it saw none.
//!
//! # With reqwest-retry
//!
//! Either order works. A request is sent at most twice by this middleware and `n + 1` times by one that
//! retries `n` times, so `2 × (n + 1)` times at most. Put retries outside (before this one), so that each
//! try has a token of its own; inside, a stream's body cannot be retried at all.
//!
//! # Options and marks
//!
//! [`RequestOptions`] go in with
//! [`with_extension`](reqwest_middleware::RequestBuilder::with_extension), and
//! [`AuthOutcome`](tower_bearer::AuthOutcome) comes out in the response's extensions.
//!
//! # Errors
//!
//! If there is no token, or the request's origin may not see it, nothing is sent. [`token_error`] finds
//! the [`tower_bearer::Error`] in the error that the client returns, whatever other middleware wrapped it.
//! Errors of the inner middleware and of reqwest pass through unchanged.

mod error;

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use http::{Extensions, StatusCode, Uri};
use reqwest::{Body, Request, Response, ResponseBuilderExt};
use reqwest_middleware::{Error, Middleware, Next};
use tower_bearer::{BearerAuthLayer, BoxError, ReplayBody, RequestOptions, auth::ReadAhead};
use tower_service::Service;

pub use self::error::token_error;

/// Stamps a bearer token onto each request of a client, and retries a request whose token was rejected. See the
/// [crate's docs](crate).
#[derive(Clone, Debug)]
pub struct BearerAuthMiddleware {
    layer: BearerAuthLayer,
}

impl BearerAuthMiddleware {
    /// A middleware with the cache and the rules of a layer.
    ///
    /// Sets [`final_uri`](BearerAuthLayer::final_uri) automatically.
    #[must_use]
    pub fn new(layer: BearerAuthLayer) -> Self {
        Self {
            layer: layer.final_uri(|head| head.extensions.get::<FinalUri>().map(|uri| &uri.0)),
        }
    }
}

#[async_trait::async_trait]
impl Middleware for BearerAuthMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let (head, rest) = split(request, extensions, next)?;
        let shared = rest.shared.clone();
        let answered = self.layer.call_once(rest, head).await;
        *extensions = mem::take(&mut *shared.lock());
        match answered {
            Ok(response) => Ok(join(response)),
            Err(error) => Err(error::into_middleware_error(error)),
        }
    }
}

/// Where a response came from that was redirected.
#[derive(Clone)]
struct FinalUri(Uri);

/// The rest of the chain, as a service.
#[derive(Clone)]
struct Rest<'a> {
    next: Next<'a>,
    shared: Arc<Shared>,
}

/// What both attempts share.
struct Shared {
    /// The request, with a body that is in memory.
    request: Request,
    /// Whether the body is a stream, which comes through the service.
    streams: bool,
    /// The chain's extensions, which each sending takes out and puts back.
    extensions: Mutex<Extensions>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Extensions> {
        // Nothing panics while it is held.
        self.extensions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request as the layer sees it, and what sends it.
fn split<'a>(
    mut request: Request,
    extensions: &mut Extensions,
    next: Next<'a>,
) -> Result<(http::Request<Body>, Rest<'a>), Error> {
    let in_memory = |body: &Body| body.as_bytes().is_some();
    let streamed = match request.body().is_none_or(in_memory) {
        true => None,
        false => request.body_mut().take(),
    };
    let uri: Uri = request
        .url()
        .as_str()
        .parse()
        .map_err(|error: http::uri::InvalidUri| Error::middleware(error))?;
    let streams = streamed.is_some();
    let mut head = http::Request::new(streamed.unwrap_or_default());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = uri;
    *head.version_mut() = request.version();
    // The layer puts the token into them; the others that the request has are the rest's own.
    *head.headers_mut() = mem::take(request.headers_mut());
    if let Some(options) = extensions.get::<RequestOptions>() {
        head.extensions_mut().insert(options.clone());
    }
    let shared = Arc::new(Shared {
        request,
        streams,
        // A copy: if this try is given up, the next one needs them (L24).
        extensions: Mutex::new(extensions.clone()),
    });
    let rest = Rest { next, shared };
    Ok((head, rest))
}

impl<'a> Service<http::Request<ReplayBody<Body>>> for Rest<'a> {
    type Response = http::Response<Response>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send + 'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // The chain takes any number of requests.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stamped: http::Request<ReplayBody<Body>>) -> Self::Future {
        let Self { next, shared } = self.clone();
        Box::pin(async move {
            let (head, body) = stamped.into_parts();
            let copy = shared.request.try_clone();
            let mut request = copy.ok_or("a body in memory does not clone")?;
            *request.headers_mut() = head.headers;
            if shared.streams {
                *request.body_mut() = Some(Body::wrap(body));
            }
            let mut own = mem::take(&mut *shared.lock());
            let answered = next.run(request, &mut own).await;
            *shared.lock() = own;
            let mut response = answered?;
            if response.status() == StatusCode::UNAUTHORIZED {
                response = read_ahead(response).await;
            }
            let redirected = response.url() != shared.request.url();
            let uri = redirected.then(|| response.url().as_str().parse::<Uri>());
            let mut split = http::Response::new(());
            *split.status_mut() = response.status();
            *split.version_mut() = response.version();
            *split.headers_mut() = mem::take(response.headers_mut());
            *split.extensions_mut() = mem::take(response.extensions_mut());
            if let Some(uri) = uri {
                split.extensions_mut().insert(FinalUri(uri?));
            }
            Ok(split.map(|()| response))
        })
    }
}

/// Reads the body of a rejection to its end, so that its connection is free while the request waits for another token.
async fn read_ahead(response: Response) -> Response {
    let url = response.url().clone();
    let (head, body) = http::Response::<Body>::from(response).into_parts();
    let body = Body::wrap(ReadAhead::read(body).await);
    // reqwest finds the URL only where its own builder has put it.
    let (with_url, ()) = match http::Response::builder().url(url).body(()) {
        Ok(with_url) => with_url.into_parts(),
        // A builder that was given nothing else cannot fail.
        Err(_) => http::Response::new(()).into_parts(),
    };
    let mut response = http::Response::from_parts(head, body);
    response.extensions_mut().extend(with_url.extensions);
    Response::from(response)
}

/// A response as reqwest has it.
fn join(response: http::Response<Response>) -> Response {
    let (mut head, mut response) = response.into_parts();
    head.extensions.remove::<FinalUri>();
    *response.headers_mut() = head.headers;
    *response.extensions_mut() = head.extensions;
    response
}

impl fmt::Debug for Rest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").finish_non_exhaustive()
    }
}

/// The crate's README, so that its example is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
