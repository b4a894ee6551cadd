//! Where tokens come from.

use std::{borrow::Cow, error, fmt, future::Future, pin::Pin, time::Duration};

use crate::{
    error::{BoxError, Kind},
    observe::Reason,
    token::{InvalidToken, Token},
};

/// Where a [`TokenCache`](crate::TokenCache) gets its tokens from.
///
/// For a source without a type of its own see [`source_fn`].
///
/// # Cancel safety
///
/// The future is dropped when it takes longer than an attempt may, when the secret changes, and when
/// the last handle of its cache is dropped.
pub trait TokenSource: Send + Sync + 'static {
    /// Fetches a token, once: the cache decides when to try again.
    ///
    /// # Errors
    ///
    /// A [`SourceError`], which says whether trying again can help.
    fn fetch(&self, cx: &FetchContext) -> impl Future<Output = Result<Token, SourceError>> + Send;

    /// A number that grows when the secret changes.
    ///
    /// It is read whenever a request does not find a fresh token, so it must be quick. When it has
    /// grown, a refresh under way is given up and a remembered failure is forgotten. What the source
    /// itself changes while it fetches, a rotated refresh token, say, must not raise it.
    ///
    /// Defaults to 0: the secret never changes.
    fn epoch(&self) -> u64 {
        0
    }

    /// What the cache's own errors call the source: the endpoint, and whose token it is asked for; never
    /// a secret. It begins a sentence like "… did not answer within 10 s".
    ///
    /// Defaults to `the token source`.
    fn describe(&self) -> Cow<'_, str> {
        Cow::Borrowed("the token source")
    }
}

/// What a source is told about the fetch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FetchContext {
    reason: Reason,
    attempt: u32,
    time_left: Duration,
}

impl FetchContext {
    pub(crate) fn new(reason: Reason, attempt: u32, time_left: Duration) -> Self {
        Self {
            reason,
            attempt,
            time_left,
        }
    }

    /// Why a token is wanted.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Which attempt of the refresh this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How long the fetch may take before it is dropped.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.time_left
    }
}

/// Makes a source of a function.
///
/// ```
/// use std::time::Duration;
/// use tower_bearer::{source_fn, SourceError, Token, TokenCache};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_bearer::Error> {
/// let cache = TokenCache::new(source_fn(|_cx| async {
///     // Ask your identity provider here.
///     Ok(Token::new("s3cr3t")?.expires_in(Duration::from_secs(3600)))
/// }));
/// assert_eq!(cache.token().await?.expose_secret(), "s3cr3t");
/// # Ok(())
/// # }
/// ```
pub fn source_fn<F, Fut>(fetch: F) -> SourceFn<F>
where
    F: Fn(FetchContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Token, SourceError>> + Send,
{
    SourceFn { fetch }
}

/// The source that [`source_fn`] makes.
#[derive(Clone)]
pub struct SourceFn<F> {
    fetch: F,
}

impl<F> fmt::Debug for SourceFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceFn").finish_non_exhaustive()
    }
}

impl<F, Fut> TokenSource for SourceFn<F>
where
    F: Fn(FetchContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Token, SourceError>> + Send,
{
    fn fetch(&self, cx: &FetchContext) -> impl Future<Output = Result<Token, SourceError>> + Send {
        (self.fetch)(cx.clone())
    }
}

/// Why a source has no token. It says whether trying again can help.
///
/// Its text is for the person at the other end, so put into it what happened, to which endpoint and
/// which credentials, and what to do; never a secret.
#[derive(Debug)]
pub struct SourceError {
    kind: Kind,
    message: Cow<'static, str>,
    source: Option<BoxError>,
    retry_after: Option<Duration>,
    until_changed: bool,
}

impl SourceError {
    /// A failure that may pass: the endpoint is down, overloaded or out of reach.
    pub fn transient(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// The endpoint's definite no to these credentials.
    pub fn invalid_credentials(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::InvalidCredentials, message)
    }

    /// The endpoint's answer is not a usable token.
    pub fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Malformed, message)
    }

    pub(crate) fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
            retry_after: None,
            until_changed: false,
        }
    }

    /// Says what caused it.
    ///
    /// Defaults to nothing.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says how long the endpoint asked to be left alone. The cache takes at most five minutes.
    ///
    /// Defaults to nothing: the cache's own back-off.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Says that asking again with the same secret would do harm, so that it is not asked again before
    /// [`TokenSource::epoch`] has grown: for passwords, whose accounts are locked after a few wrong tries,
    /// and for refresh tokens, whose second use may end the session.
    ///
    /// Defaults to asking again after a growing while.
    #[must_use]
    pub fn until_changed(mut self) -> Self {
        self.until_changed = true;
        self
    }

    /// Undoes [`until_changed`](Self::until_changed), where the source itself sees to it that the same
    /// secret is not sent again.
    #[cfg(feature = "oauth2")]
    pub(crate) fn may_pass(mut self) -> Self {
        self.until_changed = false;
        self
    }

    /// Whether the endpoint definitely refused the credentials.
    #[must_use]
    pub fn is_invalid_credentials(&self) -> bool {
        self.kind == Kind::InvalidCredentials
    }

    /// Whether the failure may pass.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.is_worth_another_attempt()
    }

    pub(crate) fn lasts_until_changed(&self) -> bool {
        self.until_changed
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind.clone()
    }

    pub(crate) fn asked_delay(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether another attempt in the same refresh can help.
    pub(crate) fn is_worth_another_attempt(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::TimedOut)
    }
}

impl From<InvalidToken> for SourceError {
    fn from(invalid: InvalidToken) -> Self {
        Self::malformed("the access token cannot be used").with_source(invalid)
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl error::Error for SourceError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

/// A source whose type is forgotten, so that no handle is generic over it. The box is one per fetch.
pub(crate) trait ErasedSource: Send + Sync {
    fn fetch<'a>(&'a self, cx: &'a FetchContext) -> Fetch<'a>;
    fn epoch(&self) -> u64;
    fn describe(&self) -> Cow<'_, str>;
}

pub(crate) type Fetch<'a> = Pin<Box<dyn Future<Output = Result<Token, SourceError>> + Send + 'a>>;

impl<S: TokenSource> ErasedSource for S {
    fn fetch<'a>(&'a self, cx: &'a FetchContext) -> Fetch<'a> {
        Box::pin(TokenSource::fetch(self, cx))
    }

    fn epoch(&self) -> u64 {
        TokenSource::epoch(self)
    }

    fn describe(&self) -> Cow<'_, str> {
        TokenSource::describe(self)
    }
}
