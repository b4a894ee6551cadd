//! Refresh tokens, which many servers replace at each use.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::{OwnedMutexGuard, oneshot},
    task::JoinError,
};

use super::{answer::Issued, secret::SecretText};
use crate::{
    clock::{Clock, Reading, SystemClock},
    error::{BoxError, SourceError},
    report::Report,
    timer,
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
    turn: Arc<tokio::sync::Mutex<()>>,
    /// What came after its caller had gone.
    late: Mutex<Option<Late>>,
    clock: SystemClock,
}

/// An access token that came after its caller had gone.
struct Late {
    token: Token,
    /// When its request was sent, from where its lifetime counts.
    sent: Reading,
    /// What would be redeemed next then. If it is another by now, somebody has logged in since.
    next: SecretText,
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
                turn: Arc::default(),
                late: Mutex::default(),
                clock: SystemClock::new(),
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
    /// the store for another one, whether or not its epoch has grown. Only an error of `send` that says that
    /// the credentials are invalid, and not that it is [about the client](SourceError::about_the_client),
    /// refuses the refresh token.
    ///
    /// # Errors
    ///
    /// The error of `send`, or an error that says that there is no refresh token, or that `time_left` is
    /// over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends only the wait, and so does `time_left`. The exchange continues for up to
    /// [`LONGEST_EXCHANGE`](Self::LONGEST_EXCHANGE), so that its refresh token is stored and not sent a second
    /// time while the server may still redeem it. The next call waits for it, and takes its access token.
    pub async fn exchange<F, Fut>(&self, time_left: Duration, send: F) -> Result<Token, SourceError>
    where
        F: Fn(SecretText) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Issued, SourceError>> + Send + 'static,
    {
        let session = self.session.clone();
        let exchange = async move {
            let turn = session.turn.clone().lock_owned().await;
            if let Some(token) = session.take_late().await {
                return Ok(token);
            }
            session.redeem_behind(turn, send).await
        };
        within(time_left, exchange).await.unwrap_or_else(|| {
            Err(
                SourceError::transient("the exchange of the refresh token took too long")
                    .with_advice("check that the token endpoint is up and in reach"),
            )
        })
    }

    /// How long an exchange continues after its caller has gone: 5 min. After that its refresh token is
    /// sent again.
    pub const LONGEST_EXCHANGE: Duration = Duration::from_secs(5 * 60);
}

/// Returns the future's output, or `None` if the time is over first. It needs no timer of the runtime.
async fn within<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    let (mut future, mut timer) = (pin!(future), pin!(timer::sleep(time)));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
    })
    .await
}

impl Session {
    /// Redeems in a task of its own, which holds the turn.
    async fn redeem_behind<F, Fut>(
        self: Arc<Self>,
        turn: OwnedMutexGuard<()>,
        send: F,
    ) -> Result<Token, SourceError>
    where
        F: Fn(SecretText) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Issued, SourceError>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let redeeming = tokio::spawn(async move {
            let _turn = turn;
            let sent = self.clock.now();
            let redeemed = within(RefreshTokens::LONGEST_EXCHANGE, self.redeem(send)).await;
            if let Some(Err(Ok((token, next)))) = redeemed.map(|result| answer.send(result)) {
                let late = Late { token, sent, next };
                *self.late.lock().unwrap_or_else(PoisonError::into_inner) = Some(late);
            }
        });
        if let Ok(result) = answered.await {
            return result.map(|(token, _)| token);
        }
        match redeeming.await.map_err(JoinError::try_into_panic) {
            // The cache turns a panic of a source into a failed refresh.
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(ended)) => Err(SourceError::transient(
                "the exchange of the refresh token ended with its runtime",
            )
            .with_source(ended)),
            Ok(()) => Err(SourceError::transient(
                "the exchange of the refresh token was never answered",
            )
            .with_advice("check that the token endpoint is up and in reach")),
        }
    }

    /// Takes what came after its caller had gone, if it is of use.
    async fn take_late(&self) -> Option<Token> {
        let late = self
            .late
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        if self.load().await.ok()? != late.next {
            return None;
        }
        let age = self.clock.now().since(late.sent);
        match late.token.stated_lifetime() {
            (Some(lifetime), _) => {
                let left = lifetime.checked_sub(age)?;
                Some(late.token.expires_in(left))
            }
            (None, _) => Some(late.token),
        }
    }

    /// Returns the access token, and the refresh token that would be redeemed next.
    async fn redeem<F, Fut>(&self, send: F) -> Result<(Token, SecretText), SourceError>
    where
        F: Fn(SecretText) -> Fut,
        Fut: Future<Output = Result<Issued, SourceError>>,
    {
        let first = self.load().await?;
        if let Some(error) = self.refusal_of(&first) {
            return Err(error);
        }
        let (sent, result) = match send(first.clone()).await {
            Err(error) if error.refuses_refresh_token() => match self.load().await {
                Ok(other) if other != first => (other.clone(), send(other).await),
                _ => (first, Err(error)),
            },
            result => (first, result),
        };
        let issued = match result {
            Ok(issued) => issued,
            Err(error) if error.refuses_refresh_token() => {
                // Another process may be about to store a newer one, and its store may have no epoch.
                let error = error.may_pass();
                let refused = Some((sent, error.clone()));
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let next = match issued.refresh_token.filter(|next| *next != sent) {
            Some(next) => {
                self.keep(next.clone(), sent).await;
                next
            }
            None => sent,
        };
        Ok((issued.token, next))
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
