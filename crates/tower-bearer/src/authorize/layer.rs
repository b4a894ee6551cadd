use std::sync::Arc;

use tower_layer::Layer;

use super::{
    origin::{InvalidOrigin, Origin, Origins},
    service::Authorize,
};
use crate::cache::TokenCache;

/// Makes [`Authorize`] services that share one [`TokenCache`].
///
/// ```
/// use tower_bearer::{AuthorizeLayer, TokenCache};
/// # use tower_bearer::{source_fn, Token};
/// # let cache = TokenCache::new(source_fn(|_| async { Ok(Token::new("t")?) }));
///
/// let layer = AuthorizeLayer::new(cache)
///     .allow("https://api.example")?
///     .allow("https://cluster.example:8443")?;
/// # drop(layer);
/// # Ok::<_, tower_bearer::InvalidOrigin>(())
/// ```
#[derive(Clone, Debug)]
pub struct AuthorizeLayer {
    cache: TokenCache,
    rules: Arc<Rules>,
}

/// What the requests of one layer have in common.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) origins: Origins,
    pub(crate) replay_limit: usize,
}

impl AuthorizeLayer {
    /// How much of a request's body is kept for a retry: 64 KiB. It covers the bodies of API calls;
    /// uploads pass through.
    pub const DEFAULT_REPLAY_LIMIT: usize = 64 * 1024;

    /// A layer that stamps the tokens of `cache`, for no origin yet: see [`allow`](Self::allow).
    #[must_use]
    pub fn new(cache: TokenCache) -> Self {
        Self {
            cache,
            rules: Arc::new(Rules {
                origins: Origins::default(),
                replay_limit: Self::DEFAULT_REPLAY_LIMIT,
            }),
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
    pub fn allow_origin(mut self, origin: Origin) -> Self {
        Arc::make_mut(&mut self.rules).origins.allow_origin(origin);
        self
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
    pub fn pass_other_origins(mut self) -> Self {
        Arc::make_mut(&mut self.rules).origins.pass_others();
        self
    }

    /// How many bytes of each request's body are kept for a retry. With 0 only requests without a
    /// body are sent again.
    ///
    /// Defaults to [`DEFAULT_REPLAY_LIMIT`](Self::DEFAULT_REPLAY_LIMIT).
    #[must_use]
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        Arc::make_mut(&mut self.rules).replay_limit = bytes;
        self
    }

    fn with_origins(
        mut self,
        change: impl FnOnce(&mut Origins) -> Result<(), InvalidOrigin>,
    ) -> Result<Self, InvalidOrigin> {
        change(&mut Arc::make_mut(&mut self.rules).origins)?;
        Ok(self)
    }
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorize<S>;

    fn layer(&self, inner: S) -> Authorize<S> {
        Authorize::new(inner, self.cache.clone(), self.rules.clone())
    }
}
