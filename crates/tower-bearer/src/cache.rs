//! The handle that users hold: clones share one token and one refresh.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    builder::Builder,
    observe::{Status, Subscription},
    refresh::{self, Acquire, Core, Want},
    source::TokenSource,
    token::Token,
};

/// Fetches, caches and refreshes one token.
///
/// Clones share one token and one refresh, and so do all layers made from them. Make one cache per
/// credential and clone it; a cache per request would fetch a token per request. Nothing runs while
/// nobody asks, and dropping the last clone ends a refresh in flight.
#[derive(Clone)]
pub struct TokenCache {
    core: Arc<Core>,
}

impl TokenCache {
    /// The lifetime of a token whose lifetime is not known: 5 min. It is short enough to notice that a
    /// token has ended, and long enough not to burden the source; a rejection leads to a refresh anyway.
    pub const DEFAULT_LIFETIME: Duration = refresh::DEFAULT_LIFETIME;

    /// The longest lifetime: 365 days. A longer one is cut to this, so that a source's mistake does not
    /// make a token eternal.
    pub const MAX_LIFETIME: Duration = refresh::MAX_LIFETIME;

    /// The longest refresh window: 10 min, enough to survive an outage of the source. The window is never
    /// more than a quarter of the lifetime.
    pub const DEFAULT_REFRESH_WINDOW: Duration = refresh::MAX_WINDOW;

    /// The longest leeway, the time before expiry in which a token is not used: 30 s, for clocks that
    /// differ and for time on the wire. The leeway is never more than a tenth of the lifetime.
    pub const DEFAULT_LEEWAY: Duration = refresh::MAX_LEEWAY;

    /// Attempts in one refresh while there is no token: 3, so that one blip at the start does not fail a
    /// daemon.
    pub const DEFAULT_ATTEMPTS: u32 = 3;

    /// The time that one attempt may take: 10 s.
    pub const DEFAULT_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

    /// The time that a whole refresh may take: 30 s.
    pub const DEFAULT_REFRESH_TIMEOUT: Duration = Duration::from_secs(30);

    /// Makes a cache with the documented defaults.
    pub fn new(source: impl TokenSource) -> Self {
        Self::builder(source).build()
    }

    /// Returns a builder for a cache whose settings differ from the defaults.
    pub fn builder<S: TokenSource>(source: S) -> Builder<S> {
        Builder::new(source)
    }

    /// Returns a token that is usable now, and fetches one if there is none.
    ///
    /// A fresh or a due token is there at once; a due one also begins a refresh.
    ///
    /// # Errors
    ///
    /// If the refresh that it waited for failed, or one failed a short while ago.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; see [`Acquire`].
    pub fn token(&self) -> Acquire {
        Acquire::new(self.core.clone(), Want::ANY)
    }

    /// Returns the token that is usable now, if there is one. It neither waits nor fetches.
    #[must_use]
    pub fn peek(&self) -> Option<Token> {
        let now = self.core.clock.now();
        self.core.cell.read(|entry| {
            entry
                .filter(|entry| entry.is_usable(now))
                .map(|entry| entry.token.clone())
        })
    }

    /// Reports that a server rejected `token`, and returns another.
    ///
    /// If `token` is still the current one, it is marked as rejected and a refresh begins, whether or not
    /// the returned future is awaited. If there is a newer token already, that is the answer. The caller
    /// never gets the rejected token again.
    ///
    /// # Errors
    ///
    /// If there is no other token: the refresh failed, or refreshes on rejection are limited at present.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; see [`Acquire`].
    pub fn reject(&self, token: &Token) -> Acquire {
        // The server rejected the bytes, whoever issued them. A generation means nothing to another cache.
        let current = self.core.cell.read(|entry| {
            let same = entry.filter(|entry| entry.token.same_secret(token));
            same.map(|entry| entry.generation())
        });
        let own = (token.cache() == self.core.id).then(|| token.generation());
        let other = match current.or(own) {
            Some(generation) => self.reject_generation(generation, Want::ANY),
            None => self.token(),
        };
        other.other_than(token)
    }

    /// The same for the token of `generation`, for what `want` says else.
    pub(crate) fn reject_generation(&self, generation: u64, want: Want) -> Acquire {
        let look = self.core.reject(generation, want);
        Acquire::looked(self.core.clone(), want.other_than(generation), look)
    }

    /// Fetches a new token although the current one may be good, to get new roles for example.
    ///
    /// It joins a refresh in flight. The new token replaces the current one even if it expires sooner.
    /// Within a second of the last refresh, that refresh's token is the answer.
    ///
    /// # Errors
    ///
    /// If the refresh failed, or one failed a short while ago.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; see [`Acquire`].
    pub fn refresh(&self) -> Acquire {
        Acquire::new(self.core.clone(), Want::NEW)
    }

    /// Keeps the token fresh from now on even while nobody asks, so that no request waits after a pause
    /// either. The first token is fetched at once.
    ///
    /// It costs the fetches of an idle cache and one task on the current runtime. If there is no runtime
    /// here, or it ends, the task runs on the next caller's. It ends with the last handle.
    pub fn keep_warm(&self) {
        self.core.keep_warm();
    }

    /// Returns whether there is a usable token now: one that has not expired and was not rejected.
    ///
    /// It is `false` for a cache that was never asked, and while a rejected token is not yet replaced;
    /// [`is_ready`](Self::is_ready) is `true` for both. So use `is_ready` for a readiness probe, which must
    /// not take a service out of rotation before its first request, and `has_token` to see whether the next
    /// request will find a token.
    ///
    /// ```
    /// use tower_bearer::{source_fn, Token, TokenCache};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_bearer::Error> {
    /// let cache = TokenCache::new(source_fn(|_cx| async { Ok(Token::new("s3cr3t")?) }));
    /// assert!(cache.is_ready() && !cache.has_token());
    /// cache.token().await?;
    /// assert!(cache.is_ready() && cache.has_token());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn has_token(&self) -> bool {
        let now = self.core.clock.now();
        self.core
            .cell
            .read(|entry| entry.is_some_and(|entry| entry.is_usable(now)))
    }

    /// Returns whether the cache can serve requests, as far as it knows: `false` only if the last refresh
    /// failed and no token is left that could be sent.
    ///
    /// A cache that was never asked is ready. So is one whose token was rejected and is not yet replaced:
    /// other requests still use it while its refresh is in flight or failing. Whether there is a good token
    /// at hand is what [`has_token`](Self::has_token) returns.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let now = self.core.clock.now();
        let alive = self
            .core
            .cell
            .read(|entry| entry.is_some_and(|entry| !entry.is_expired(now)));
        alive || !self.core.last_refresh_failed()
    }

    /// Returns what the cache is doing, for probes and people.
    #[must_use]
    pub fn status(&self) -> Status {
        let now = self.core.clock.now();
        let (phase, next_try_in, last_error) = self.core.phase();
        let current = self.core.cell.current();
        Status {
            phase,
            generation: current.as_ref().map(|entry| entry.generation()),
            rejected: current.as_ref().is_some_and(|entry| entry.is_rejected()),
            due_in: current.as_ref().map(|entry| now.until(entry.schedule.due)),
            expires_in: current.map(|entry| now.until(entry.schedule.usable_until)),
            next_try_in,
            last_error,
            counts: self.core.telemetry.counts(),
        }
    }

    /// Returns a subscription to how each refresh ends, from now on.
    ///
    /// ```
    /// use tower_bearer::{Outcome, TokenCache};
    ///
    /// async fn watch(cache: &TokenCache) {
    ///     let mut events = cache.subscribe();
    ///     while let Some(event) = events.next().await {
    ///         match event.outcome {
    ///             Outcome::Refreshed { generation, .. } => println!("token {generation} ({})", event.reason),
    ///             other => println!("{} ({})", other.as_str(), event.reason),
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.core.telemetry.subscribe()
    }

    pub(crate) fn from_core(core: Core) -> Self {
        Self {
            core: Arc::new(core),
        }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache")
            .field("status", &self.status())
            .finish()
    }
}
