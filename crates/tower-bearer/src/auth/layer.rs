use std::sync::Arc;

use http::{Request, Response, Uri, response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    attach::{Rules, Stamper},
    future::ResponseFuture,
    hops::Pair,
    origin::{InvalidOrigin, Origin},
    origins::Origins,
    redirects::RedirectsLayer,
    replay::ReplayBody,
    service::{self, BearerAuth},
};
use crate::{cache::TokenCache, error::BoxError};

/// Makes [`BearerAuth`] services that share one [`TokenCache`].
///
/// ```
/// use tower_bearer::{BearerAuthLayer, TokenCache};
/// # use tower_bearer::{source_fn, Token};
/// # let cache = TokenCache::new(source_fn(|_| async { Ok(Token::new("t")?) }));
///
/// let layer = BearerAuthLayer::new(cache)
///     .allow("https://api.example")?
///     .allow("https://cluster.example:8443")?;
/// # drop(layer);
/// # Ok::<_, tower_bearer::InvalidOrigin>(())
/// ```
#[derive(Clone, Debug)]
pub struct BearerAuthLayer {
    stamper: Stamper,
}

impl BearerAuthLayer {
    /// The most bytes of a request's body that are kept for a retry, unless
    /// [`replay_limit`](Self::replay_limit) says otherwise: 64 KiB. It covers the bodies of API calls;
    /// uploads pass through.
    pub const DEFAULT_REPLAY_LIMIT: usize = 64 * 1024;

    /// Creates a layer that stamps the tokens of `cache`. It allows no origin yet: see
    /// [`allow`](Self::allow).
    #[must_use]
    pub fn new(cache: TokenCache) -> Self {
        let rules = Arc::new(Rules {
            origins: Origins::default(),
            overwrite: false,
            retry: true,
            drop_rejected: false,
            replay_limit: Self::DEFAULT_REPLAY_LIMIT,
            mark_responses: false,
            reject_when: None,
            final_uri: None,
            hops: None,
        });
        Self {
            stamper: Stamper { cache, rules },
        }
    }

    /// Allows the token to go to an origin, like `https://api.example`, or `http://127.0.0.1:8080` on this
    /// machine. Of a longer URL only the origin counts. Call it once for each origin.
    ///
    /// A `*` as the whole first label stands for any one label: `https://*.acme.example` allows
    /// `https://one.acme.example`, but neither `https://acme.example` nor `https://two.one.acme.example`. All hosts
    /// below that name must be as trustworthy as each other. A name below which anybody can get a host is refused:
    /// one of a single label (`*.com`), a category below a country (`*.co.uk`) and a few that are well known
    /// (`*.github.io`). That list is short, not the public suffix list, so look twice.
    ///
    /// Defaults to none: a request to an origin that is not allowed is an error.
    ///
    /// # Errors
    ///
    /// If the text is not an origin, one that is reached over a network without TLS, or a pattern that allows too
    /// much or can never match.
    pub fn allow(self, origin: &str) -> Result<Self, InvalidOrigin> {
        self.with_origins(|origins| origins.allow(origin))
    }

    /// Allows the token to go to an origin even without TLS, so that everybody on the way can read it.
    ///
    /// Defaults to none.
    ///
    /// # Errors
    ///
    /// If the text is not an origin or a pattern: see [`allow`](Self::allow).
    pub fn allow_insecure(self, origin: &str) -> Result<Self, InvalidOrigin> {
        self.with_origins(|origins| origins.allow_insecure(origin))
    }

    /// Allows the token to go to an origin that was parsed before. Its TLS is not checked.
    #[must_use]
    pub fn allow_origin(self, origin: Origin) -> Self {
        self.with(|rules| rules.origins.allow_origin(origin))
    }

    /// Sets where requests go whose URI does not say it: around tonic's channel the layer sees only a path.
    /// The origin must be allowed too. The `Host` header is never trusted: if there is one, it must name the same host.
    ///
    /// Defaults to unknown: such a request is an error.
    ///
    /// # Errors
    ///
    /// If the text is not an origin.
    pub fn assume_origin(self, origin: &str) -> Result<Self, InvalidOrigin> {
        self.with_origins(|origins| origins.assume(origin))
    }

    /// Sends requests to other origins without a token, instead of refusing them. Use it for example where
    /// an API redirects to an object store.
    ///
    /// Defaults to refusing them.
    #[must_use]
    pub fn pass_other_origins(self) -> Self {
        self.with(|rules| rules.origins.pass_others())
    }

    /// Removes an `Authorization` header that a request already has. Such a request is stamped like any
    /// other; if it gets no token, it is sent without the header. Use it in a gateway, which must not hand
    /// on what its callers authenticate to it with.
    ///
    /// Defaults to leaving such a request as it is. Its 401 then refreshes nothing.
    #[must_use]
    pub fn overwrite_authorization(self) -> Self {
        self.with(|rules| rules.overwrite = true)
    }

    /// Sets how many bytes of each request's body are kept for a retry. With 0 only requests without a
    /// body are sent again.
    ///
    /// Defaults to [`DEFAULT_REPLAY_LIMIT`](Self::DEFAULT_REPLAY_LIMIT).
    #[must_use]
    pub fn replay_limit(self, bytes: usize) -> Self {
        self.with(|rules| rules.replay_limit = bytes)
    }

    /// Sends each request once. A 401 still refreshes the token for the next request.
    ///
    /// Defaults to retrying a request whose token was rejected, once.
    #[must_use]
    pub fn without_retry(self) -> Self {
        self.with(|rules| rules.retry = false)
    }

    /// Drops a response that rejects the token at once, before its request waits for another token. Use it where a
    /// response whose body is not read holds what others need, or what the token's own refresh needs: a connection,
    /// a permit, a stream's window. See the [module's docs](crate::auth#what-is-held).
    ///
    /// If no other token can be had, the reason is the answer, an [`Error`](crate::Error), because the response is
    /// gone.
    ///
    /// Defaults to holding the response until there is another token. It is the answer if there is none.
    #[must_use]
    pub fn drop_rejected_responses(self) -> Self {
        self.with(|rules| rules.drop_rejected = true)
    }

    /// Treats further responses as rejections of the token, for example a 419. `reject` is called with the
    /// heads of the responses that are not rejections already.
    ///
    /// Defaults to a 401 whose challenges do not name another problem, and gRPC's `UNAUTHENTICATED` in a
    /// response's headers.
    ///
    /// ```
    /// # use tower_bearer::{BearerAuthLayer, source_fn, Token, TokenCache};
    /// # let cache = TokenCache::new(source_fn(|_| async { Ok(Token::new("t")?) }));
    /// let layer = BearerAuthLayer::new(cache).reject_when(|head| head.status.as_u16() == 419);
    /// # drop(layer);
    /// ```
    #[must_use]
    pub fn reject_when(self, reject: fn(&response::Parts) -> bool) -> Self {
        self.with(|rules| rules.reject_when = Some(reject))
    }

    /// Sets how to find out where a response came from, if a client inside the layer follows redirects. A
    /// response from another origin than the request went to does not reject the token, because such a
    /// client leaves the token behind (it must; tower-http's `FollowRedirect` does).
    ///
    /// Defaults to where the request went. It is better to follow redirects
    /// [outside the layer](Self::with_redirects), so that each hop passes it.
    ///
    /// ```
    /// use tower_http::follow_redirect::RequestUri;
    /// # use tower_bearer::{BearerAuthLayer, source_fn, Token, TokenCache};
    /// # let cache = TokenCache::new(source_fn(|_| async { Ok(Token::new("t")?) }));
    /// let layer = BearerAuthLayer::new(cache)
    ///     .final_uri(|head| head.extensions.get::<RequestUri>().map(|uri| &uri.0));
    /// # drop(layer);
    /// ```
    #[must_use]
    pub fn final_uri(self, final_uri: fn(&response::Parts) -> Option<&Uri>) -> Self {
        self.with(|rules| rules.final_uri = Some(final_uri))
    }

    /// Puts an [`AuthOutcome`](crate::AuthOutcome) into the response to every stamped request, so that the
    /// caller learns the generation of its token.
    ///
    /// Defaults to the responses to requests whose token was rejected, because it costs a few allocations.
    #[must_use]
    pub fn mark_responses(self) -> Self {
        self.with(|rules| rules.mark_responses = true)
    }

    /// Follows redirects with `redirects`, for example tower-http's `FollowRedirectLayer`, around this layer. Each hop
    /// passes this layer, and keeps what its request asked for: its [`RequestOptions`](crate::RequestOptions), and
    /// that it had an `Authorization` header of its own. Call it last.
    ///
    /// `redirects` can be a stack of several layers. But each hop must reach this layer while the future of its request is
    /// polled. A layer in between with a task of its own, such as tower's `Buffer`, belongs around the whole: a
    /// request that comes from another task is an error ([`Kind::OutOfHop`](crate::Kind::OutOfHop)).
    ///
    /// Defaults to nothing around this layer. See the [module's docs](crate::auth#redirects).
    ///
    /// ```
    /// use tower_http::follow_redirect::FollowRedirectLayer;
    /// # use tower_bearer::{BearerAuthLayer, source_fn, Token, TokenCache};
    /// # let cache = TokenCache::new(source_fn(|_| async { Ok(Token::new("t")?) }));
    /// let layer = BearerAuthLayer::new(cache)
    ///     .allow("https://api.example")?
    ///     .with_redirects(FollowRedirectLayer::new());
    /// # drop(layer);
    /// # Ok::<_, tower_bearer::InvalidOrigin>(())
    /// ```
    #[must_use]
    pub fn with_redirects<L>(self, redirects: L) -> RedirectsLayer<L> {
        let pair = Pair::new();
        let inside = self.with(|rules| rules.hops = Some(pair));
        RedirectsLayer::new(redirects, inside.stamper, pair)
    }

    /// Sends one request through `inner`, which must be ready, as a service of this layer would.
    ///
    /// It is for adapters whose inner service lives as long as one request: they need no service that requests and
    /// threads share.
    pub fn call_once<S, B, R>(&self, inner: S, request: Request<B>) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
        S::Error: Into<BoxError>,
        B: Body,
    {
        service::call_once(inner, self.stamper.clone(), request)
    }

    fn with(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(Arc::make_mut(&mut self.stamper.rules));
        self
    }

    fn with_origins(
        self,
        change: impl FnOnce(&mut Origins) -> Result<(), InvalidOrigin>,
    ) -> Result<Self, InvalidOrigin> {
        let mut changed = Ok(());
        let this = self.with(|rules| changed = change(&mut rules.origins));
        changed.map(|()| this)
    }
}

impl<S> Layer<S> for BearerAuthLayer {
    type Service = BearerAuth<S>;

    fn layer(&self, inner: S) -> BearerAuth<S> {
        BearerAuth::new(inner, self.stamper.clone())
    }
}
