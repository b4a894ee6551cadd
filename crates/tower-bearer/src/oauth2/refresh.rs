//! A refresh token that may be another one after each use.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{answer::Issued, secret::SecretText};
use crate::{
    error::{BoxError, SourceError},
    report::Report,
    token::Token,
};

/// Where a refresh token is kept between two uses, and between two runs of the program.
///
/// A server that rotates refresh tokens (RFC 6749, section 6; RFC 9700, section 4.14.2) gives a new one
/// at each use and may end the whole session when an old one is used again. So the new one must be kept.
pub trait RefreshTokenStore: Send + Sync + 'static {
    /// The refresh token as it is now. It is asked for before each use.
    ///
    /// # Errors
    ///
    /// If there is none, with what a person must do.
    fn load(&self) -> impl Future<Output = Result<SecretText, BoxError>> + Send;

    /// Keeps the one that the server gave in its place.
    ///
    /// # Errors
    ///
    /// If it cannot be kept. It is then used from memory, and a warning is logged.
    fn save(&self, token: &SecretText) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// A number that grows when somebody else puts another refresh token there; see
    /// [`TokenSource::epoch`](crate::TokenSource::epoch).
    ///
    /// Defaults to 0: nobody does.
    fn epoch(&self) -> u64 {
        0
    }
}

/// A refresh token in use: it is loaded, spent, and its successor kept.
///
/// Where two processes share one store, and one finds its refresh token spent by the other, it loads
/// again, and goes on with the other's if that is there. A server that takes such a second use for a
/// theft (Keycloak, with reuse detection) ends the session of both: give each process a login of its own.
#[derive(Clone)]
pub struct RefreshTokens {
    shared: Arc<Shared>,
}

struct Shared {
    store: Box<dyn ErasedStore>,
    /// A token that could not be kept, and what was in the store then.
    unkept: Mutex<Option<Unkept>>,
    /// The token that was refused last, with the error: it is not sent again.
    refused: Mutex<Option<(SecretText, SourceError)>>,
    /// One use at a time: a second would find its token spent.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Unkept {
    token: SecretText,
    stored: SecretText,
}

impl RefreshTokens {
    /// A refresh token whose successors are kept in memory: right where the server does not rotate them,
    /// or the program logs in anew at each start.
    pub fn new(token: impl Into<SecretText>) -> Self {
        Self::stored(Memory(Mutex::new(token.into())))
    }

    /// A refresh token that is kept in a store.
    pub fn stored(store: impl RefreshTokenStore) -> Self {
        Self {
            shared: Arc::new(Shared {
                store: Box::new(store),
                unkept: Mutex::default(),
                refused: Mutex::default(),
                turn: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// The store's epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.store.epoch()
    }

    /// Redeems the refresh token with `send`, which takes it to the endpoint, and keeps the one that comes
    /// back. If it is refused and the store holds another by now, that one is sent too.
    ///
    /// A refresh token that was refused is not sent again, since that may end the session. The store is
    /// asked for another one at each call, whether its epoch has grown or not.
    ///
    /// # Errors
    ///
    /// What `send` says, or that there is no refresh token.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the wait alone: the exchange goes on until `time_left` is over, so that the token
    /// that comes back is kept.
    pub async fn exchange<F, Fut>(&self, time_left: Duration, send: F) -> Result<Token, SourceError>
    where
        F: Fn(SecretText) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Issued, SourceError>> + Send + 'static,
    {
        let shared = self.shared.clone();
        let redeeming = tokio::spawn(async move {
            let spent = tokio::time::timeout(time_left, shared.spend(send)).await;
            spent.unwrap_or_else(|_| {
                Err(
                    SourceError::transient("the exchange of the refresh token took too long")
                        .with_advice("check that the token endpoint is up and in reach"),
                )
            })
        });
        match redeeming.await {
            Ok(result) => result,
            Err(ended) => match ended.try_into_panic() {
                // The cache knows what to do with a source that panics.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(ended) => Err(SourceError::transient(
                    "the exchange of the refresh token ended with its runtime",
                )
                .with_source(ended)),
            },
        }
    }
}

impl Shared {
    async fn spend<F, Fut>(&self, send: F) -> Result<Token, SourceError>
    where
        F: Fn(SecretText) -> Fut,
        Fut: Future<Output = Result<Issued, SourceError>>,
    {
        let _turn = self.turn.lock().await;
        let first = self.load().await?;
        if let Some(error) = self.refusal_of(&first) {
            return Err(error);
        }
        let (sent, result) = match send(first.clone()).await {
            Err(error) if error.is_invalid_credentials() => match self.load().await {
                Ok(other) if other != first => (other.clone(), send(other).await),
                _ => (first, Err(error)),
            },
            result => (first, result),
        };
        let issued = match result {
            Ok(issued) => issued,
            Err(error) if error.is_invalid_credentials() => {
                // Another process may be about to put its own into the store, without an epoch.
                let error = error.may_pass();
                let refused = Some((sent, error.clone()));
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        if let Some(next) = issued.refresh_token.filter(|next| *next != sent) {
            self.keep(next, sent).await;
        }
        Ok(issued.token)
    }

    /// The error of the exchange in which this token was refused.
    fn refusal_of(&self, token: &SecretText) -> Option<SourceError> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let (refused, error) = refused.as_ref()?;
        (refused == token).then(|| error.clone())
    }

    async fn load(&self) -> Result<SecretText, SourceError> {
        let stored = self.store.load().await.map_err(|error| {
            SourceError::invalid_credentials("there is no refresh token")
                .with_advice("log in again, or check the place that it is kept in")
                .with_source(error)
        })?;
        let unkept = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match &*unkept {
            // What somebody else has put there since is newer.
            Some(unkept) if unkept.stored == stored => unkept.token.clone(),
            _ => stored,
        })
    }

    fn remember(&self, change: impl FnOnce(Option<Unkept>) -> Option<Unkept>) {
        let mut unkept = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        *unkept = change(unkept.take());
    }

    async fn keep(&self, next: SecretText, sent: SecretText) {
        // In memory first: whatever becomes of the store, the old one is spent.
        self.remember(|before| {
            let unkept = before.filter(|before| before.token == sent);
            let stored = unkept.map_or(sent, |before| before.stored);
            let token = next.clone();
            Some(Unkept { token, stored })
        });
        match self.store.save(&next).await {
            Ok(()) => self.remember(|_| None),
            Err(error) => tracing::warn!(
                error = %Report::new(&*error),
                "the new refresh token could not be stored: it is used from memory, and after a restart a \
                 person must log in again"
            ),
        }
    }
}

impl fmt::Debug for RefreshTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokens").finish_non_exhaustive()
    }
}

impl<T: Into<SecretText>> From<T> for RefreshTokens {
    fn from(token: T) -> Self {
        Self::new(token)
    }
}

/// Until the program ends.
struct Memory(Mutex<SecretText>);

impl RefreshTokenStore for Memory {
    async fn load(&self) -> Result<SecretText, BoxError> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone())
    }

    async fn save(&self, token: &SecretText) -> Result<(), BoxError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token.clone();
        Ok(())
    }
}

type Loading<'a> = Pin<Box<dyn Future<Output = Result<SecretText, BoxError>> + Send + 'a>>;
type Saving<'a> = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>>;

trait ErasedStore: Send + Sync {
    fn load(&self) -> Loading<'_>;
    fn save<'a>(&'a self, token: &'a SecretText) -> Saving<'a>;
    fn epoch(&self) -> u64;
}

impl<S: RefreshTokenStore> ErasedStore for S {
    fn load(&self) -> Loading<'_> {
        Box::pin(RefreshTokenStore::load(self))
    }

    fn save<'a>(&'a self, token: &'a SecretText) -> Saving<'a> {
        Box::pin(RefreshTokenStore::save(self, token))
    }

    fn epoch(&self) -> u64 {
        RefreshTokenStore::epoch(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn issued(token: &str, refresh: Option<&str>) -> Result<Issued, SourceError> {
        Ok(Issued {
            token: Token::new(token)?,
            refresh_token: refresh.map(SecretText::from),
            id_token: None,
            scope: None,
        })
    }

    /// What is spent, in order, and how each is answered.
    #[derive(Clone, Default)]
    struct Spent(Arc<Mutex<Vec<String>>>);

    impl Spent {
        fn note(&self, token: &SecretText) {
            self.0
                .lock()
                .unwrap()
                .push(token.expose_secret().to_owned());
        }

        fn taken(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    /// A store that cannot be written, and into which the test puts tokens.
    #[derive(Clone)]
    struct ReadOnly(Arc<Mutex<&'static str>>);

    impl RefreshTokenStore for ReadOnly {
        async fn load(&self) -> Result<SecretText, BoxError> {
            Ok((*self.0.lock().unwrap()).into())
        }

        async fn save(&self, _: &SecretText) -> Result<(), BoxError> {
            Err("read only".into())
        }
    }

    #[tokio::test]
    async fn a_rotated_refresh_token_is_used_next() {
        let (tokens, spent) = (RefreshTokens::new("r1"), Spent::default());
        for (n, next) in [Some("r2"), None, Some("r3"), None].into_iter().enumerate() {
            let seen = spent.clone();
            let send = move |token: SecretText| {
                seen.note(&token);
                async move { issued(&format!("t{n}"), next) }
            };
            tokens.exchange(LONG, send).await.unwrap();
        }
        assert_eq!(spent.taken(), ["r1", "r2", "r2", "r3"]);
    }

    #[tokio::test]
    async fn one_that_cannot_be_kept_is_used_from_memory_until_somebody_logs_in() {
        let place = ReadOnly(Arc::new(Mutex::new("r1")));
        let (tokens, spent) = (RefreshTokens::stored(place.clone()), Spent::default());
        for next in ["r2", "r3", "r4", "r5"] {
            let seen = spent.clone();
            let send = move |token: SecretText| {
                seen.note(&token);
                async move { issued("t", Some(next)) }
            };
            tokens.exchange(LONG, send).await.unwrap();
            if next == "r3" {
                *place.0.lock().unwrap() = "login";
            }
        }
        assert_eq!(spent.taken(), ["r1", "r2", "login", "r4"]);
    }

    #[tokio::test]
    async fn a_token_that_another_process_spent_is_looked_up_again() {
        let place = ReadOnly(Arc::new(Mutex::new("r1")));
        let (tokens, spent) = (RefreshTokens::stored(place.clone()), Spent::default());
        let seen = spent.clone();
        let send = move |token: SecretText| {
            seen.note(&token);
            // The other process has kept its own by the time of the answer.
            *place.0.lock().unwrap() = "r2";
            async move {
                match token.expose_secret() {
                    "r1" => Err(SourceError::invalid_credentials("spent")),
                    _ => issued("t", None),
                }
            }
        };
        tokens.exchange(LONG, send).await.unwrap();
        assert_eq!(spent.taken(), ["r1", "r2"]);
    }

    #[tokio::test]
    async fn what_comes_back_is_kept_although_nobody_waits() {
        let (tokens, spent) = (RefreshTokens::new("r1"), Spent::default());
        let (answer, answered) = tokio::sync::oneshot::channel::<()>();
        let answered = Arc::new(Mutex::new(Some(answered)));
        let seen = spent.clone();
        let send = move |token: SecretText| {
            seen.note(&token);
            let answered = answered.lock().unwrap().take();
            async move {
                if let Some(answered) = answered {
                    answered.await.unwrap();
                }
                issued("t", Some("r2"))
            }
        };
        let mut exchange = tokio_test::task::spawn(tokens.exchange(LONG, send.clone()));
        tokio_test::assert_pending!(exchange.poll());
        while spent.0.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        drop(exchange);
        answer.send(()).unwrap();
        tokens.exchange(LONG, send).await.unwrap();
        assert_eq!(spent.taken(), ["r1", "r2"]);
    }

    /// The other process was a moment later with its token than this one with its second look.
    #[tokio::test]
    async fn a_refusal_ends_with_another_token_in_a_store_that_tells_no_epoch() {
        let clock = crate::clock::ManualClock::new();
        let place = ReadOnly(Arc::new(Mutex::new("r1")));
        let (tokens, spent) = (RefreshTokens::stored(place.clone()), Spent::default());
        let seen = spent.clone();
        let source = crate::source_fn(move |cx| {
            let (tokens, seen) = (tokens.clone(), seen.clone());
            async move {
                let send = move |token: SecretText| {
                    seen.note(&token);
                    async move {
                        match token.expose_secret() {
                            "r1" => Err(SourceError::invalid_credentials("spent")),
                            _ => issued("t", None),
                        }
                    }
                };
                tokens.exchange(cx.time_left(), send).await
            }
        });
        let cache = crate::TokenCache::builder(source)
            .clock(clock.clone())
            .seed(7)
            .build();
        for _ in 0..3 {
            assert!(cache.token().await.unwrap_err().is_invalid_credentials());
            clock.advance(Duration::from_secs(600));
        }
        // What was refused is never sent again.
        assert_eq!(spent.taken(), ["r1"]);
        *place.0.lock().unwrap() = "r2";
        clock.advance(Duration::from_secs(600));
        cache.token().await.unwrap();
        assert_eq!(spent.taken(), ["r2"]);
    }
}
