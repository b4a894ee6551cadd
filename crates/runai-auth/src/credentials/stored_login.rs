//! A login that another tool keeps in a file: its token until that expires, then its refresh token.
//!
//! A refresh token is redeemed only if the new one can be written back to the same file, as the tool itself
//! does. Otherwise a server that rotates refresh tokens would end the person's session.

use std::{
    fmt,
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tower_bearer::{
    BoxError, FetchContext, Reason, Report, SourceError, Token,
    oauth2::{Issued, JwtTimes, RefreshTokenStore, RefreshTokens, SecretText},
};

use super::{given_token::given_token, unreadable::unreadable};
use crate::{
    exchange::Subject,
    files::{FileError, Watched, shown_path},
    kubeconfig::{can_write_back, write_back},
};

/// A token that expires within this time counts as expired.
const EXPIRING: Duration = Duration::from_secs(10);

/// The contents of the file.
#[derive(Clone, PartialEq)]
pub(crate) struct StoredTokens {
    pub(crate) file: PathBuf,
    /// Identifies the login and its issuer, because a file may hold several logins: a refresh token goes to
    /// its own issuer only.
    pub(crate) identity: String,
    pub(crate) token: Option<StoredSecret>,
    pub(crate) refresh_token: Option<StoredSecret>,
}

/// A secret, and its text in the file.
#[derive(Clone, PartialEq)]
pub(crate) struct StoredSecret {
    pub(crate) text: SecretText,
    pub(crate) written: SecretText,
    pub(crate) encoding: Encoding,
}

/// How a secret is encoded in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    /// Without padding, as the Run:ai command line writes it.
    Base64Url,
}

impl Encoding {
    fn encode(self, text: &SecretText) -> SecretText {
        match self {
            Self::Plain => text.clone(),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(text.expose_secret()).into(),
        }
    }
}

/// A login in a file.
#[derive(Clone)]
pub(crate) struct StoredLogin {
    inner: Arc<Inner>,
    refresh_tokens: RefreshTokens,
}

struct Inner {
    file: Watched<StoredTokens>,
    /// The last token that was returned. If the file still holds it at the next fetch, a new one is needed.
    returned: Mutex<Option<SecretText>>,
    /// The token that came with the newest refresh token. Both are written back together.
    fresh: Mutex<Option<SecretText>>,
    /// The contents of the file when the refresh token in use was loaded. Only these are replaced.
    loaded: Mutex<Option<StoredTokens>>,
}

impl StoredLogin {
    pub(crate) fn new(
        read: impl Fn() -> Result<StoredTokens, FileError> + Send + Sync + 'static,
    ) -> Self {
        let inner = Arc::new(Inner {
            file: Watched::new(read),
            returned: Mutex::default(),
            fresh: Mutex::default(),
            loaded: Mutex::default(),
        });
        Self {
            refresh_tokens: RefreshTokens::stored(Store(inner.clone())),
            inner,
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.inner.file.epoch()
    }

    /// Returns the tokens that the file held when it was read last, as they are and as they are written.
    pub(crate) fn known_secrets(&self) -> Vec<SecretText> {
        let stored = self.inner.file.last();
        let both = stored.map(|stored| [stored.token, stored.refresh_token]);
        let all = both.into_iter().flatten().flatten();
        all.flat_map(|secret| [secret.text, secret.written])
            .collect()
    }

    /// Returns the token in the file. If `redeems`, and that token is about to expire or is needed anew,
    /// redeems the refresh token with `send` instead. The file must still hold the login `identity`.
    pub(crate) async fn fetch<F, Fut>(
        &self,
        subject: &Subject,
        identity: &str,
        redeems: bool,
        cx: &FetchContext,
        send: F,
    ) -> Result<Token, SourceError>
    where
        F: Fn(SecretText) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Issued, SourceError>> + Send + 'static,
    {
        let Subject { name, advice, .. } = subject;
        let stored = self.inner.file.current().await.map_err(|error| {
            let message = format!("{name} cannot be read");
            unreadable(&message, error.into(), advice).with_advice(*advice)
        })?;
        let changed = {
            let name = name.clone();
            move || {
                SourceError::transient(format!("{name} changed while it was read"))
                    .with_advice("wait until the program that changes it is done")
            }
        };
        if stored.identity != identity {
            return Err(changed());
        }
        let can_refresh = redeems && stored.refresh_token.is_some();
        if let Some(token) = &stored.token {
            let expires_at =
                JwtTimes::read(token.text.expose_secret()).and_then(JwtTimes::expires_at);
            let is_expiring = expires_at.is_some_and(|at| JwtTimes::left_until(at) < EXPIRING);
            // The first fetch of another cache may use the token that this login returned before.
            let again = cx.reason() != Reason::Initial
                && self.inner.returned().as_ref() == Some(&token.text);
            if !can_refresh || !(is_expiring || again) {
                let found = given_token(&token.text, None, name, advice)?;
                self.inner.remember_returned(token.text.clone());
                return Ok(found);
            }
        }
        if !can_refresh {
            let message = format!("{name} has no token");
            return Err(SourceError::no_credentials(message).with_advice(*advice));
        }
        let file = stored.file.clone();
        let writable = tokio::task::spawn_blocking(move || can_write_back(&file)).await;
        let problem: Option<BoxError> = match writable {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.into()),
            Err(ended) => Some(ended.into()),
        };
        if let Some(problem) = problem {
            let message = format!(
                "{name} has expired, and its refresh token is not redeemed because the new one could \
                 not be written to {}",
                shown_path(&stored.file)
            );
            return Err(SourceError::invalid_credentials(message)
                .with_advice(format!("make that file writable, or {advice}"))
                .with_source(problem));
        }
        let inner = self.inner.clone();
        let identity: Arc<str> = identity.into();
        let send = Arc::new(send);
        let token = self
            .refresh_tokens
            .exchange(cx.time_left(), move |refresh_token| {
                let (inner, send) = (inner.clone(), send.clone());
                let (identity, changed) = (identity.clone(), changed.clone());
                async move {
                    if inner
                        .loaded()
                        .is_none_or(|loaded| *loaded.identity != *identity)
                    {
                        return Err(changed());
                    }
                    let issued = send(refresh_token.clone()).await?;
                    inner.fresh(Some(issued.token.expose_secret().into()));
                    let next = issued.refresh_token.as_ref();
                    if next.is_none_or(|next| *next == refresh_token) {
                        // The refresh token stays, and only the token beside it is new.
                        if let Err(error) = Store(inner).save(&refresh_token).await {
                            tracing::warn!(
                                error = %Report::new(&*error),
                                "the new token could not be written back"
                            );
                        }
                    }
                    Ok(issued)
                }
            });
        let token = token.await?;
        self.inner.remember_returned(token.expose_secret().into());
        Ok(token)
    }
}

impl Inner {
    fn returned(&self) -> Option<SecretText> {
        self.returned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn remember_returned(&self, token: SecretText) {
        *self.returned.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
    }

    fn loaded(&self) -> Option<StoredTokens> {
        self.loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn fresh(&self, token: Option<SecretText>) -> Option<SecretText> {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *fresh, token)
    }
}

struct Store(Arc<Inner>);

impl RefreshTokenStore for Store {
    async fn load(&self) -> Result<SecretText, BoxError> {
        let stored = self.0.file.current().await?;
        let loaded = Some(stored.clone());
        *self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner) = loaded;
        let refresh_token = stored
            .refresh_token
            .ok_or("the file has no refresh token")?;
        Ok(refresh_token.text)
    }

    async fn save(&self, token: &SecretText) -> Result<(), BoxError> {
        // The file may hold another login by now, which must not be overwritten.
        let mut stored = self.0.loaded().ok_or("nothing was loaded")?;
        let mut replaced = Vec::new();
        let updates = [
            (&mut stored.refresh_token, Some(token.clone())),
            (&mut stored.token, self.0.fresh(None)),
        ];
        for (secret, new) in updates {
            if let (Some(secret), Some(new)) = (secret, new) {
                let written = secret.encoding.encode(&new);
                if secret.written != written {
                    replaced.push((secret.written.clone(), written.clone()));
                }
                secret.text = new;
                secret.written = written;
            }
        }
        let file = stored.file.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let replaced: Vec<_> = replaced
                .iter()
                .map(|(old, new)| (old.expose_secret(), new.expose_secret()))
                .collect();
            write_back(&file, &replaced)
        });
        writing.await??;
        self.0.file.written(stored);
        Ok(())
    }

    fn epoch(&self) -> u64 {
        self.0.file.epoch()
    }
}

impl fmt::Debug for StoredLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredLogin").finish_non_exhaustive()
    }
}
