use std::time::Duration;

use http::Request;

use crate::cache::TokenCache;

/// What one request asks of the layer. Put it into the request's extensions.
///
/// ```
/// use std::time::Duration;
/// use http::Request;
/// use tower_bearer::RequestOptions;
///
/// // A watch that should not be cut off soon.
/// let watch = Request::get("https://api.example/watch")
///     .extension(RequestOptions::new().min_remaining(Duration::from_secs(600)))
///     .body(())?;
/// # drop(watch);
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until they are in a request's extensions"]
pub struct RequestOptions {
    min_remaining: Duration,
    without_token: bool,
    without_retry: bool,
    cache: Option<TokenCache>,
}

/// The options of a request that has none.
static DEFAULT: RequestOptions = RequestOptions {
    min_remaining: RequestOptions::NO_MINIMUM,
    without_token: false,
    without_retry: false,
    cache: None,
};

impl RequestOptions {
    /// Any token will do that may be used at all.
    pub(super) const NO_MINIMUM: Duration = Duration::ZERO;

    /// Returns the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a token that lasts at least this long: for an upload or a watch that the server would cut
    /// off when its token expires.
    ///
    /// The request waits for a refresh if the current token lasts less long and half of its lifetime is
    /// over. So nobody gets more than half a lifetime, and asking costs the source at most two fetches
    /// per lifetime. If the refresh fails, the request is sent with the current token.
    ///
    /// Defaults to any usable token.
    pub fn min_remaining(mut self, remaining: Duration) -> Self {
        self.min_remaining = remaining;
        self
    }

    /// Sends the request without a token, to any origin.
    ///
    /// Defaults to stamping it.
    pub fn without_token(mut self) -> Self {
        self.without_token = true;
        self
    }

    /// Sends the request once. A 401 still refreshes the token for the next request.
    ///
    /// Defaults to retrying the request if its token is rejected.
    pub fn without_retry(mut self) -> Self {
        self.without_retry = true;
        self
    }

    /// Takes the token from another cache, for example in a gateway with a cache for each tenant. Keep
    /// those caches: one that is made for a single request fetches a token for it.
    ///
    /// Defaults to the layer's cache.
    pub fn cache(mut self, cache: TokenCache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Returns true if a request has options of its own.
    #[inline]
    pub(super) fn are_in<B>(request: &Request<B>) -> bool {
        Self::find(request).is_some()
    }

    /// Returns a request's options, if it has any.
    #[inline]
    pub(super) fn find<B>(request: &Request<B>) -> Option<&Self> {
        request.extensions().get()
    }

    /// Returns a request's options, or the defaults.
    #[inline]
    pub(super) fn of<B>(request: &Request<B>) -> &Self {
        Self::find(request).unwrap_or(&DEFAULT)
    }

    pub(super) fn wants_token(&self) -> bool {
        !self.without_token
    }

    pub(super) fn wants_retry(&self) -> bool {
        !self.without_retry
    }

    pub(super) fn remaining(&self) -> Duration {
        self.min_remaining
    }

    pub(super) fn other_cache(&self) -> Option<&TokenCache> {
        self.cache.as_ref()
    }
}
