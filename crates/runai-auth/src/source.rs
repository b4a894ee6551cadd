//! The source of tokens that a control plane's cache has.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use tower_bearer::{FetchContext, Reason, SourceError, Token, TokenSource, oauth2::SecretText};

use crate::{credentials::Credentials, exchange::Exchange};

/// Asks one control plane for tokens, with one set of credentials: the source of the cache that
/// [`ControlPlane::authenticate_with`](crate::ControlPlane::authenticate_with) sets up.
#[derive(Debug)]
pub struct ControlPlaneSource {
    exchange: Arc<Exchange>,
    credentials: Credentials,
    /// The token that was given last, if only somebody else can give another.
    held: Mutex<Option<SecretText>>,
}

impl ControlPlaneSource {
    pub(crate) fn new(exchange: Arc<Exchange>, credentials: Credentials) -> Self {
        Self {
            exchange,
            credentials,
            held: Mutex::default(),
        }
    }
}

impl TokenSource for ControlPlaneSource {
    fn epoch(&self) -> u64 {
        self.credentials.login.epoch()
    }

    fn describe(&self) -> Cow<'_, str> {
        let base = self.exchange.control_plane().base();
        Cow::Owned(format!("{base} ({})", self.credentials.login.who().name))
    }

    async fn fetch(&self, cx: &FetchContext) -> Result<Token, SourceError> {
        let login = &self.credentials.login;
        let token = login.fetch(&self.exchange, cx).await?;
        if login.is_held() {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let is_same = |last: &SecretText| last.expose_secret() == token.expose_secret();
            if cx.reason() == Reason::Rejected && held.as_ref().is_some_and(is_same) {
                let (base, who) = (self.exchange.control_plane().base(), login.who());
                return Err(SourceError::invalid_credentials(format!(
                    "{} was rejected by {base}, and there is no other yet: {}",
                    who.name, who.advice
                )));
            }
            *held = Some(token.expose_secret().into());
        }
        Ok(token)
    }
}
