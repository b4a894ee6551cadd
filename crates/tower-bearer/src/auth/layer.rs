use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::{Uri, response};
use tower_layer::Layer;

use super::{
    origin::{InvalidOrigin, Origin, Origins},
    service::BearerAuth,
};
use crate::cache::TokenCache;

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
    pub(crate) cache: TokenCache,
    pub(crate) rules: Arc<Rules>,
}

/// What all clones of one service share. Threads count the references of copies of it (see
/// [`Shards`](crate::shard::Shards)), so each lies on a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Shared<S> {
    pub(crate) layer: BearerAuthLayer,
    /// What the services are cloned from that requests are sent again through: one for all requests, in the
    /// place of a clone for each. It is there once a request was kept for that.
    spare: Arc<OnceLock<Mutex<S>>>,
}

impl<S> Shared<S> {
    pub(crate) fn new(layer: BearerAuthLayer) -> Self {
        Self {
            layer,
            spare: Arc::default(),
        }
    }

    /// The same with the token of another cache.
    pub(crate) fn with_cache(&self, cache: TokenCache) -> Self {
        let rules = self.layer.rules.clone();
        Self {
            layer: BearerAuthLayer { cache, rules },
            spare: self.spare.clone(),
        }
    }

    /// Keeps a clone of the inner service, unless there is one.
    #[inline]
    pub(crate) fn keep_spare(&self, inner: &S)
    where
        S: Clone,
    {
        self.spare.get_or_init(|| Mutex::new(inner.clone()));
    }

    /// A service like the inner one, of which a clone was kept.
    pub(crate) fn spare(&self) -> S
    where
        S: Clone,
    {
        let spare = self.spare.get().expect("a clone is kept with each request");
        // A service that panics while it is cloned is none the worse for the next.
        spare.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self {
            layer: self.layer.clone(),
            spare: self.spare.clone(),
        }
    }
}

/// What the requests of one layer have in common.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) origins: Origins,
    pub(crate) overwrite: bool,
    pub(crate) retry: bool,
    pub(crate) replay_limit: usize,
    pub(crate) mark_responses: bool,
    pub(crate) reject_when: Option<fn(&response::Parts) -> bool>,
    pub(crate) final_uri: Option<fn(&response::Parts) -> Option<&Uri>>,
}

impl Rules {
    /// Whether all that is to be known of a request that was sent is its token: there is no retry, and nothing
    /// but the response says whether it was rejected.
    #[inline]
    pub(crate) fn sends_once(&self) -> bool {
        !self.retry
            && self.final_uri.is_none()
            && self.reject_when.is_none()
            && !self.mark_responses
    }
}

impl BearerAuthLayer {
    /// How much of a request's body is kept for a retry: 64 KiB. It covers the bodies of API calls;
    /// uploads pass through.
    pub const DEFAULT_REPLAY_LIMIT: usize = 64 * 1024;

    /// A layer that stamps the tokens of `cache`, for no origin yet: see [`allow`](Self::allow).
    #[must_use]
    pub fn new(cache: TokenCache) -> Self {
        let rules = Rules {
            origins: Origins::default(),
            overwrite: false,
            retry: true,
            replay_limit: Self::DEFAULT_REPLAY_LIMIT,
            mark_responses: false,
            reject_when: None,
            final_uri: None,
        };
        Self {
            cache,
            rules: Arc::new(rules),
        }
    }

    /// Lets the token go to an origin, like `https://api.example`, or `http://127.0.0.1:8080` on this
    /// machine. Of a longer URL only the origin counts. Call it once for each.
    ///
    /// Defaults to none: a request for an origin that is not allowed is an error.
    ///
    /// # Errors
    ///
    /// If the text is no origin, or one that is reached over a network without TLS.
    pub fn allow(self, origin: &str) -> Result<Self, InvalidOrigin> {
        self.with_origins(|origins| origins.allow(origin))
    }

    /// Lets the token go to an origin even without TLS, where everybody on the way can read it.
    ///
    /// Defaults to none.
    ///
    /// # Errors
    ///
    /// If the text is no origin.
    pub fn allow_insecure(self, origin: &str) -> Result<Self, InvalidOrigin> {
        Ok(self.allow_origin(Origin::parse(origin)?))
    }

    /// Lets the token go to an origin that was parsed before, without a further check of its TLS.
    #[must_use]
    pub fn allow_origin(self, origin: Origin) -> Self {
        self.with(|rules| rules.origins.allow_origin(origin))
    }

    /// Says where requests go whose URI does not: around tonic's channel the layer sees only a path.
    /// The origin must be allowed too. The `Host` header is never trusted.
    ///
    /// Defaults to unknown: such a request is an error.
    ///
    /// # Errors
    ///
    /// If the text is no origin.
    pub fn assume_origin(self, origin: &str) -> Result<Self, InvalidOrigin> {
        self.with_origins(|origins| origins.assume(origin))
    }

    /// Sends requests to other origins without a token, instead of refusing them: where an API
    /// redirects to an object store, say.
    ///
    /// Defaults to refusing them.
    #[must_use]
    pub fn pass_other_origins(self) -> Self {
        self.with(|rules| rules.origins.pass_others())
    }

    /// Takes an `Authorization` header off that a request has already, so that it is stamped like any
    /// other, and one that goes without a token goes without any: for gateways, which must not hand on
    /// what their callers authenticate to them with.
    ///
    /// Defaults to leaving such a request as it is. Its 401 then refreshes nothing.
    #[must_use]
    pub fn overwrite_authorization(self) -> Self {
        self.with(|rules| rules.overwrite = true)
    }

    /// How many bytes of each request's body are kept for a retry. With 0 only requests without a
    /// body are sent again.
    ///
    /// Defaults to [`DEFAULT_REPLAY_LIMIT`](Self::DEFAULT_REPLAY_LIMIT).
    #[must_use]
    pub fn replay_limit(self, bytes: usize) -> Self {
        self.with(|rules| rules.replay_limit = bytes)
    }

    /// Sends each request once. A 401 still refreshes the token, for the next request.
    ///
    /// Defaults to sending a request once more whose token was rejected.
    #[must_use]
    pub fn without_retry(self) -> Self {
        self.with(|rules| rules.retry = false)
    }

    /// Takes other responses for rejections of the token too: a 419, say. `reject` sees the heads of
    /// the responses that are none yet.
    ///
    /// Defaults to a 401 whose challenges do not complain of something else, and gRPC's
    /// `UNAUTHENTICATED` in a response's headers.
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

    /// Says where a response came from, if a client inside the layer follows redirects: one that came
    /// from another origin than the request went to rejects no token, since such a client leaves the
    /// token behind (it must; tower-http's `FollowRedirect` does).
    ///
    /// Defaults to where the request went. Redirects are better followed outside the layer, where each
    /// hop passes it: see the [module's docs](crate::auth#redirects).
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

    /// Puts a [`AuthOutcome`](crate::AuthOutcome) into each response to a stamped request, so that its caller
    /// can tell which generation it was sent with.
    ///
    /// Defaults to those only whose token was rejected, since it costs a few allocations.
    #[must_use]
    pub fn mark_responses(self) -> Self {
        self.with(|rules| rules.mark_responses = true)
    }

    fn with(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(Arc::make_mut(&mut self.rules));
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
        BearerAuth::new(inner, &Shared::new(self.clone()))
    }
}
