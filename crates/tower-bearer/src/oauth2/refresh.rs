//! Refresh tokens, which many servers replace at each use.

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

/// Stores a refresh token between two uses, and between two runs of the program.
///
/// A server that rotates refresh tokens (RFC 6749, section 6; RFC 9700, section 4.14.2) issues a new one
/// at each use. If an old one is used again, it may end the whole session. So the new one must be stored.
pub trait RefreshTokenStore: Send + Sync + 'static {
    /// Loads the refresh token. It is called before each use.
    ///
    /// # Errors
    ///
    /// If there is none. The error says what a person must do.
    fn load(&self) -> impl Future<Output = Result<SecretText, BoxError>> + Send;

    /// Stores the refresh token that the server issued to replace the loaded one.
    ///
    /// # Errors
    ///
    /// If it cannot be stored. It is then used from memory, and a warning is logged.
    fn save(&self, token: &SecretText) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Returns a number that grows when somebody else stores another refresh token; see
    /// [`TokenSource::epoch`](crate::TokenSource::epoch).
    ///
    /// Defaults to 0: nobody else does.
    fn epoch(&self) -> u64 {
        0
    }
}

/// Redeems refresh tokens one after the other: loads one, sends it, and stores its successor.
///
/// Two processes may share one store. If the server refuses the refresh token of one because the other
/// redeemed it first, that process loads again and continues with the newer one. A server with reuse
/// detection (Keycloak has it) takes the second use for a theft and ends the session of both. Give each
/// process a login of its own there.
#[derive(Clone)]
pub struct RefreshTokens {
    session: Arc<Session>,
}

struct Session {
    store: Box<dyn ErasedStore>,
    /// A token that could not be stored, and what the store held then.
    unkept: Mutex<Option<Unkept>>,
    /// The token that was refused last, with the error: it is not sent again.
    refused: Mutex<Option<(SecretText, SourceError)>>,
    /// Held during a use: a second one at the same time would send a token that is redeemed already.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Unkept {
    token: SecretText,
    stored: SecretText,
}

impl RefreshTokens {
    /// A refresh token whose successors are kept in memory. Use it where the server does not rotate refresh
    /// tokens, or where the program logs in at each start.
    pub fn new(token: impl Into<SecretText>) -> Self {
        Self::stored(Memory(Mutex::new(token.into())))
    }

    /// A refresh token that is kept in `store`.
    pub fn stored(store: impl RefreshTokenStore) -> Self {
        Self {
            session: Arc::new(Session {
                store: Box::new(store),
                unkept: Mutex::default(),
                refused: Mutex::default(),
                turn: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Returns the store's epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.session.store.epoch()
    }

    /// Redeems the refresh token and stores its successor. `send` takes the refresh token to the endpoint.
    /// If the endpoint refuses it and the store holds another one by now, that one is sent too.
    ///
    /// A refused refresh token is never sent again, because that may end the session. Each call looks into
    /// the store for another one, whether or not its epoch has grown.
    ///
    /// # Errors
    ///
    /// The error of `send`, or an error that says that there is no refresh token.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends only the wait. The exchange continues until `time_left` is over, so that
    /// its refresh token is stored.
    pub async fn exchange<F, Fut>(&self, time_left: Duration, send: F) -> Result<Token, SourceError>
    where
        F: Fn(SecretText) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Issued, SourceError>> + Send + 'static,
    {
        let session = self.session.clone();
        let redeeming = tokio::spawn(async move {
            let redeemed = tokio::time::timeout(time_left, session.redeem(send)).await;
            redeemed.unwrap_or_else(|_| {
                Err(
                    SourceError::transient("the exchange of the refresh token took too long")
                        .with_advice("check that the token endpoint is up and in reach"),
                )
            })
        });
        match redeeming.await {
            Ok(result) => result,
            Err(ended) => match ended.try_into_panic() {
                // The cache turns a panic of a source into a failed refresh.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(ended) => Err(SourceError::transient(
                    "the exchange of the refresh token ended with its runtime",
                )
                .with_source(ended)),
            },
        }
    }
}

impl Session {
    async fn redeem<F, Fut>(&self, send: F) -> Result<Token, SourceError>
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
                // Another process may be about to store a newer one, and its store may have no epoch.
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
            // Anything else was stored later by somebody else, so it is newer.
            Some(unkept) if unkept.stored == stored => unkept.token.clone(),
            _ => stored,
        })
    }

    fn remember(&self, change: impl FnOnce(Option<Unkept>) -> Option<Unkept>) {
        let mut unkept = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        *unkept = change(unkept.take());
    }

    async fn keep(&self, next: SecretText, sent: SecretText) {
        // In memory first: the old one is redeemed, whatever becomes of the store.
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

/// A store that forgets when the program ends.
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
mod tests;
