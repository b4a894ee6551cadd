//! The handle: one cell and one refresh, shared by all clones.

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
/// Clones share one cell and one refresh, and so do all layers made from them. Make one per
/// credential and clone it; one per request would fetch a token per request. Nothing runs while
/// nobody asks, and dropping the last clone ends a refresh under way.
#[derive(Clone)]
pub struct TokenCache {
    core: Arc<Core>,
}

impl TokenCache {
    /// The lifetime that is taken where a token's is not known: 5 min. Short enough to notice a token
    /// that ended, long enough not to burden its source; a rejection heals it anyway.
    pub const DEFAULT_LIFETIME: Duration = refresh::DEFAULT_LIFETIME;

    /// The longest lifetime that is believed: 365 days, so that no slip of a source's makes a token
    /// eternal.
    pub const MAX_LIFETIME: Duration = refresh::MAX_LIFETIME;

    /// The longest refresh window: 10 min, which is slack enough to survive an outage of the source.
    /// It is never more than a quarter of the lifetime.
    pub const DEFAULT_REFRESH_WINDOW: Duration = refresh::MAX_WINDOW;

    /// The longest margin before expiry in which a token is not used: 30 s, for clocks that differ and
    /// for time on the wire. It is never more than a tenth of the lifetime.
    pub const DEFAULT_LEEWAY: Duration = refresh::MAX_LEEWAY;

    /// Attempts in one refresh when nobody has a token: 3, so that one blip at the start does not fail
    /// a daemon.
    pub const DEFAULT_ATTEMPTS: u32 = 3;

    /// The time that one attempt may take: 10 s.
    pub const DEFAULT_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

    /// The time that a whole refresh may take: 30 s.
    pub const DEFAULT_REFRESH_TIMEOUT: Duration = Duration::from_secs(30);

    /// A cache with the documented defaults.
    pub fn new(source: impl TokenSource) -> Self {
        Self::builder(source).build()
    }

    /// A cache whose settings differ from the defaults.
    pub fn builder<S: TokenSource>(source: S) -> Builder<S> {
        Builder::new(source)
    }

    /// A token that may be used now; one is fetched if there is none.
    ///
    /// A fresh token is there at once. A due one too, and its refresh begins.
    ///
    /// # Errors
    ///
    /// If the refresh that was waited for failed, or one failed a short while ago.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; see [`Acquire`].
    pub fn token(&self) -> Acquire {
        Acquire::new(self.core.clone(), Want::ANY)
    }

    /// The token that may be used now, if there is one. It neither waits nor fetches.
    #[must_use]
    pub fn peek(&self) -> Option<Token> {
        let now = self.core.clock.now();
        self.core.cell.read(|entry| {
            entry
                .filter(|entry| entry.is_usable(now))
                .map(|entry| entry.token.clone())
        })
    }

    /// Says that a server rejected `token`, and asks for another.
    ///
    /// If it is still the current one, it becomes rejected and a refresh begins, whether or not the
    /// returned future is awaited. Where a newer token is there already, that is the answer. The
    /// caller is never handed the rejected token again.
    ///
    /// # Errors
    ///
    /// If no other token can be had: the refresh failed, or refreshes because of rejections are
    /// limited at present.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; see [`Acquire`].
    pub fn reject(&self, token: &Token) -> Acquire {
        // Another cache's token may have the same generation.
        let is_foreign = self.core.cell.read(|entry| {
            entry.is_some_and(|entry| {
                entry.generation() == token.generation() && !entry.token.same_secret(token)
            })
        });
        if is_foreign {
            return self.token();
        }
        self.reject_generation(token.generation(), Want::ANY)
    }

    pub(crate) fn reject_generation(&self, generation: u64, want: Want) -> Acquire {
        let look = self.core.reject(generation, want);
        Acquire::looked(self.core.clone(), want.other_than(generation), look)
    }

    /// Fetches a new token although the current one may be good: new roles, say.
    ///
    /// It joins a refresh under way, and what it brings replaces the current token even if it expires
    /// sooner. Within a second of the last refresh that one's token is the answer.
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

    /// Refreshes the token from now on even while nobody asks, so that no request waits after a pause
    /// either. It fetches the first one at once.
    ///
    /// It costs one task on the current runtime, or on the next caller's if there is none or it ends,
    /// and the fetches of an idle cache. It ends with the last handle.
    pub fn keep_warm(&self) {
        self.core.warm.want();
        refresh::host(&self.core);
    }

    /// Whether requests can be served, as far as is known: false only if the last refresh failed and
    /// no token is left that could be sent. A cache that was never asked is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let now = self.core.clock.now();
        let alive = self
            .core
            .cell
            .read(|entry| entry.is_some_and(|entry| !entry.is_expired(now)));
        alive || !self.core.last_refresh_failed()
    }

    /// What the cache is doing, for probes and people.
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

    /// Delivers how each refresh ends, from now on.
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
