use std::time::Duration;

use crate::cache::TokenCache;

/// What one request asks of the layer, where it differs from others: in the request's extensions.
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

impl RequestOptions {
    /// Nothing out of the ordinary yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a token that is of use for so long at least: for an upload or a watch that the server
    /// ends with its token.
    ///
    /// The request waits for a refresh if the current token lives less long and half of its lifetime is
    /// over; so nobody gets more than half a lifetime, and asking costs the source no more than two
    /// fetches per lifetime. If the refresh fails, the current token is sent.
    ///
    /// Defaults to any token that is usable.
    pub fn min_remaining(mut self, remaining: Duration) -> Self {
        self.min_remaining = remaining;
        self
    }

    /// Sends the request without a token, wherever it goes.
    ///
    /// Defaults to stamping it.
    pub fn without_token(mut self) -> Self {
        self.without_token = true;
        self
    }

    /// Sends the request once. A 401 still refreshes the token, for the next one.
    ///
    /// Defaults to sending it again if its token is rejected.
    pub fn without_retry(mut self) -> Self {
        self.without_retry = true;
        self
    }

    /// Takes the token from another cache, as a gateway does that has one for each tenant. Keep those
    /// caches: one that is made for the request fetches a token for it.
    ///
    /// Defaults to the layer's.
    pub fn cache(mut self, cache: TokenCache) -> Self {
        self.cache = Some(cache);
        self
    }

    pub(crate) fn wants_token(&self) -> bool {
        !self.without_token
    }

    pub(crate) fn wants_retry(&self) -> bool {
        !self.without_retry
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.min_remaining
    }

    pub(crate) fn other_cache(&self) -> Option<&TokenCache> {
        self.cache.as_ref()
    }
}
