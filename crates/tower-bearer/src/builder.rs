//! Makes a cache whose settings differ from the defaults.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use crate::{
    cache::TokenCache,
    clock::{Clock, SystemClock},
    observe::Telemetry,
    refresh::{Core, Limits, Policy, Settings},
    source::TokenSource,
};

/// Makes a [`TokenCache`] whose settings differ from the defaults.
///
/// ```
/// use std::time::Duration;
/// use tower_bearer::{source_fn, Token, TokenCache};
///
/// let cache = TokenCache::builder(source_fn(|_cx| async { Ok(Token::new("s3cr3t")?) }))
///     .refresh_window(Duration::from_secs(120))
///     .attempt_timeout(Duration::from_secs(3))
///     .build();
/// # drop(cache);
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct Builder<S> {
    source: S,
    clock: Option<Arc<dyn Clock>>,
    seed: Option<u64>,
    name: Cow<'static, str>,
    settings: Settings,
}

impl<S> Builder<S> {
    pub(crate) fn new(source: S) -> Self {
        Self {
            source,
            clock: None,
            seed: None,
            name: Cow::Borrowed("default"),
            settings: Settings {
                lifetime: Policy::default(),
                attempts: TokenCache::DEFAULT_ATTEMPTS,
                attempt_timeout: TokenCache::DEFAULT_ATTEMPT_TIMEOUT,
                refresh_timeout: TokenCache::DEFAULT_REFRESH_TIMEOUT,
                limits: Limits::default(),
            },
        }
    }

    /// Sets the lifetime of a token whose lifetime is not known.
    ///
    /// Defaults to [`DEFAULT_LIFETIME`](TokenCache::DEFAULT_LIFETIME).
    pub fn default_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.lifetime.default_lifetime = lifetime;
        self
    }

    /// Sets the longest time for which a token is due before it stops being usable. A token of one hour
    /// with a window of two minutes is refreshed 2 to 3 min before that: the jitter lies before the window
    /// and is at most half of it.
    ///
    /// Defaults to [`DEFAULT_REFRESH_WINDOW`](TokenCache::DEFAULT_REFRESH_WINDOW), and is clamped to a
    /// quarter of the lifetime.
    pub fn refresh_window(mut self, window: Duration) -> Self {
        self.settings.lifetime.max_window = window;
        self
    }

    /// Sets the longest time before expiry in which a token is not used any more. A token of one hour with
    /// a leeway of one minute is used for 59 min.
    ///
    /// Defaults to [`DEFAULT_LEEWAY`](TokenCache::DEFAULT_LEEWAY), and is clamped to a tenth of
    /// the lifetime.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.settings.lifetime.max_leeway = leeway;
        self
    }

    /// Sets how many attempts a refresh has while there is no token; 0 counts as 1. While there is a token
    /// a refresh has one attempt.
    ///
    /// Defaults to [`DEFAULT_ATTEMPTS`](TokenCache::DEFAULT_ATTEMPTS).
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.settings.attempts = attempts;
        self
    }

    /// Sets how long one attempt may take.
    ///
    /// Defaults to [`DEFAULT_ATTEMPT_TIMEOUT`](TokenCache::DEFAULT_ATTEMPT_TIMEOUT).
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.settings.attempt_timeout = timeout;
        self
    }

    /// Sets how long a refresh may take with all its attempts.
    ///
    /// Defaults to [`DEFAULT_REFRESH_TIMEOUT`](TokenCache::DEFAULT_REFRESH_TIMEOUT).
    pub fn refresh_timeout(mut self, timeout: Duration) -> Self {
        self.settings.refresh_timeout = timeout;
        self
    }

    /// Sets how many refreshes rejections may cause at once; 0 counts as 1.
    ///
    /// Defaults to 2: a first rejection, and one more for a token that was revoked while it was fetched.
    pub fn rejection_burst(mut self, burst: u32) -> Self {
        self.settings.limits.burst = burst.max(1);
        self
    }

    /// Sets the time in which rejections may cause one more refresh, and the longest to which it doubles while
    /// the refreshed tokens are rejected too. The shortest is 100 ms; the longest is never less than the first.
    ///
    /// Defaults to 5 s and 5 min: a token that was just revoked is replaced soon, and a server that rejects
    /// every token costs 12 refreshes an hour.
    pub fn rejection_interval(mut self, first: Duration, longest: Duration) -> Self {
        let first = first.max(Duration::from_millis(100));
        self.settings.limits.interval = first;
        self.settings.limits.longest = longest.max(first);
        self
    }

    /// Sets the name that tells this cache from another in logs and metrics. It must not hold a secret.
    ///
    /// Defaults to `default`.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the clock to read and to sleep on.
    ///
    /// Defaults to [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Seeds the jitter and the backoff, so that a run can be repeated exactly.
    ///
    /// Defaults to a seed from the system.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}

impl<S: TokenSource> Builder<S> {
    /// Makes the cache. Nothing is fetched before somebody asks.
    #[must_use]
    pub fn build(self) -> TokenCache {
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let chance = self
            .seed
            .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        TokenCache::from_core(Core::new(
            Arc::new(self.source),
            clock,
            self.settings,
            Telemetry::new(self.name),
            chance,
        ))
    }
}

impl<S> fmt::Debug for Builder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
