//! Where tokens come from.

use std::{borrow::Cow, fmt, future::Future, pin::Pin, time::Duration};

use crate::{error::SourceError, observe::Reason, token::Token};

/// Fetches tokens for a [`TokenCache`](crate::TokenCache).
///
/// [`source_fn`] makes a source from a function.
///
/// A fetch must not ask its own cache for a token, nor a client that carries that cache's layer: it would wait
/// for itself. That ends in an error at once ([`Kind::Reentrant`](crate::Kind::Reentrant)), unless a task that
/// the fetch spawned asks; then it ends with the attempt's time-out.
///
/// # Cancel safety
///
/// The cache drops the future of a fetch that exceeds its time-out, when the secret changes, and when the
/// last handle of the cache is dropped.
pub trait TokenSource: Send + Sync + 'static {
    /// Fetches one token, once. The cache decides when to call it again.
    ///
    /// # Errors
    ///
    /// A [`SourceError`], which says whether another attempt can help. A panic, in any method of the source,
    /// counts as a failure.
    fn fetch(&self, cx: &FetchContext) -> impl Future<Output = Result<Token, SourceError>> + Send;

    /// Returns a number that grows when the secret changes.
    ///
    /// The cache reads it each time that a request does not find a fresh token, so it must be quick. When
    /// it has grown, the cache gives up a refresh in flight and forgets a remembered failure. A change by
    /// the source's own fetch, a rotated refresh token for example, must not raise it.
    ///
    /// Defaults to 0: the secret never changes.
    fn epoch(&self) -> u64 {
        0
    }

    /// Returns what the cache's own errors call the source: the endpoint and the application, never a
    /// secret. It begins a sentence such as "… did not answer within 10 s".
    ///
    /// Defaults to `the token source`.
    fn describe(&self) -> Cow<'_, str> {
        Cow::Borrowed("the token source")
    }
}

/// What a source may want to know about a fetch.
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

    /// Returns why a token is fetched.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the number of the attempt within its refresh, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns how long the fetch may take before the cache drops it.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.time_left
    }
}

/// Makes a source from a function.
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

/// A source with its type erased, so that no handle is generic over it. It costs one box per fetch.
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
