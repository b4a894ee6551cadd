//! A login that another tool keeps in a file: its token as long as that lives, then its refresh token.
//!
//! A refresh token is spent only if the new one can be written back to where it came from, as the tool
//! itself does: a server that rotates refresh tokens would end the person's session otherwise.

use std::{
    fmt,
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tower_bearer::{
    BoxError, FetchContext, Reason, SourceError, Token,
    oauth2::{Issued, JwtTimes, RefreshTokenStore, RefreshTokens, SecretText},
};

use super::{Who, held};
use crate::{
    files::{FileError, Watched},
    kubeconfig::{can_write_back, write_back},
};

/// A token that ends so soon is as good as ended.
const ENDING: Duration = Duration::from_secs(10);

/// What lies in the file.
#[derive(Clone, PartialEq)]
pub(crate) struct Kept {
    pub(crate) file: PathBuf,
    /// Whose login it is, and with whom, where a file has several: a refresh token goes to its own issuer
    /// alone.
    pub(crate) whose: String,
    pub(crate) token: Option<Stored>,
    pub(crate) refresh_token: Option<Stored>,
}

/// A secret, and how it is written in the file.
#[derive(Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) text: SecretText,
    pub(crate) written: SecretText,
    pub(crate) writing: Writing,
}

/// How a secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    Plain,
    /// Without padding, as the Run:ai command line does it.
    Base64Url,
}

impl Writing {
    fn write(self, text: &SecretText) -> SecretText {
        match self {
            Self::Plain => text.clone(),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(text.expose_secret()).into(),
        }
    }
}

/// A login in a file.
#[derive(Clone)]
pub(crate) struct KeptLogin {
    inner: Arc<Inner>,
    refresh_tokens: RefreshTokens,
}

struct Inner {
    file: Watched<Kept>,
    /// The token that was handed out last: when it is asked for again, another is wanted.
    handed: Mutex<Option<SecretText>>,
    /// The token that came with the newest refresh token, which is written back with it.
    fresh: Mutex<Option<SecretText>>,
    /// What was in the file when the refresh token in use was loaded: that alone is replaced.
    loaded: Mutex<Option<Kept>>,
}

impl KeptLogin {
    pub(crate) fn new(read: impl Fn() -> Result<Kept, FileError> + Send + Sync + 'static) -> Self {
        let inner = Arc::new(Inner {
            file: Watched::new(read),
            handed: Mutex::default(),
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

    /// The token in the file, or, if `redeems` and it is about to end or is asked for once more, the one
    /// that `send` gets for the refresh token. The login must be the one that `whose` names.
    pub(crate) async fn fetch<F, Fut>(
        &self,
        who: &Who,
        whose: &str,
        redeems: bool,
        cx: &FetchContext,
        send: F,
    ) -> Result<Token, SourceError>
    where
        F: Fn(SecretText) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Issued, SourceError>> + Send + 'static,
    {
        let Who { name, advice, .. } = who;
        let kept = self.inner.file.current().await.map_err(|error| {
            SourceError::invalid_credentials(format!("there is no {name}: {advice}"))
                .with_source(error)
        })?;
        let changed = {
            let name = name.clone();
            move || SourceError::transient(format!("{name}: the file is being changed"))
        };
        if kept.whose != whose {
            return Err(changed());
        }
        let can_refresh = redeems && kept.refresh_token.is_some();
        if let Some(token) = &kept.token {
            let ends = JwtTimes::read(token.text.expose_secret()).and_then(JwtTimes::expires_at);
            let is_ending = ends.is_some_and(|ends| JwtTimes::left_until(ends) < ENDING);
            // Another cache of the same login has had none yet.
            let again =
                cx.reason() != Reason::Initial && self.inner.handed().as_ref() == Some(&token.text);
            if !can_refresh || !(is_ending || again) {
                let found = held::token(&token.text, None, name, advice)?;
                self.inner.hand(token.text.clone());
                return Ok(found);
            }
        }
        if !can_refresh {
            return Err(SourceError::invalid_credentials(format!(
                "there is no {name}: {advice}"
            )));
        }
        let file = kept.file.clone();
        let writable = tokio::task::spawn_blocking(move || can_write_back(&file)).await;
        let problem: Option<BoxError> = match writable {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.into()),
            Err(ended) => Some(ended.into()),
        };
        if let Some(problem) = problem {
            return Err(SourceError::invalid_credentials(format!(
                "{name} has ended, and its refresh token is not spent, since the new one could not be \
                 written to {}: make that writable, or {advice}",
                kept.file.display()
            ))
            .with_source(problem));
        }
        let inner = self.inner.clone();
        let whose: Arc<str> = whose.into();
        let send = Arc::new(send);
        let token = self
            .refresh_tokens
            .exchange(cx.time_left(), move |refresh_token| {
                let (inner, send) = (inner.clone(), send.clone());
                let (whose, changed) = (whose.clone(), changed.clone());
                async move {
                    if inner.loaded().is_none_or(|loaded| *loaded.whose != *whose) {
                        return Err(changed());
                    }
                    let issued = send(refresh_token.clone()).await?;
                    inner.fresh(Some(issued.token.expose_secret().into()));
                    let next = issued.refresh_token.as_ref();
                    if next.is_none_or(|next| *next == refresh_token) {
                        // The refresh token is kept as it is, and only the token beside it is new.
                        if let Err(error) = Store(inner).save(&refresh_token).await {
                            tracing::warn!(
                                error = &*error as &(dyn std::error::Error + 'static),
                                "the new token could not be written back"
                            );
                        }
                    }
                    Ok(issued)
                }
            });
        let token = token.await?;
        self.inner.hand(token.expose_secret().into());
        Ok(token)
    }
}

impl Inner {
    fn handed(&self) -> Option<SecretText> {
        self.handed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn hand(&self, token: SecretText) {
        *self.handed.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
    }

    fn loaded(&self) -> Option<Kept> {
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
        let kept = self.0.file.current().await?;
        let loaded = Some(kept.clone());
        *self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner) = loaded;
        let refresh_token = kept.refresh_token.ok_or("the file has no refresh token")?;
        Ok(refresh_token.text)
    }

    async fn save(&self, token: &SecretText) -> Result<(), BoxError> {
        // What is in the file by now may be another login, which must not be overwritten.
        let mut kept = self.0.loaded().ok_or("nothing was loaded")?;
        let mut replaced = Vec::new();
        let news = [
            (&mut kept.refresh_token, Some(token.clone())),
            (&mut kept.token, self.0.fresh(None)),
        ];
        for (stored, new) in news {
            if let (Some(stored), Some(new)) = (stored, new) {
                let written = stored.writing.write(&new);
                if stored.written != written {
                    replaced.push((stored.written.clone(), written.clone()));
                }
                stored.text = new;
                stored.written = written;
            }
        }
        let file = kept.file.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let replaced: Vec<_> = replaced
                .iter()
                .map(|(old, new)| (old.expose_secret(), new.expose_secret()))
                .collect();
            write_back(&file, &replaced)
        });
        writing.await??;
        self.0.file.written(kept);
        Ok(())
    }

    fn epoch(&self) -> u64 {
        self.0.file.epoch()
    }
}

impl fmt::Debug for KeptLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptLogin").finish_non_exhaustive()
    }
}
