//! The token source behind a control plane's cache.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use tower_bearer::{FetchContext, Reason, SourceError, Token, TokenSource, oauth2::SecretText};

use crate::{credentials::Credentials, exchange::Exchange};

/// The token source of one control plane and one set of credentials. The cache that
/// [`ControlPlane::authenticate_with`](crate::ControlPlane::authenticate_with) sets up uses it.
#[derive(Debug)]
pub struct ControlPlaneSource {
    exchange: Arc<Exchange>,
    credentials: Credentials,
    /// The last token, if only another party can replace it.
    last_given: Mutex<Option<SecretText>>,
}

impl ControlPlaneSource {
    pub(crate) fn new(exchange: Arc<Exchange>, credentials: Credentials) -> Self {
        Self {
            exchange,
            credentials,
            last_given: Mutex::default(),
        }
    }
}

impl TokenSource for ControlPlaneSource {
    fn epoch(&self) -> u64 {
        self.credentials.credential.epoch()
    }

    fn describe(&self) -> Cow<'_, str> {
        let base = self.exchange.control_plane().base();
        let name = self.credentials.credential.subject().name;
        Cow::Owned(format!("{base} ({name})"))
    }

    async fn fetch(&self, cx: &FetchContext) -> Result<Token, SourceError> {
        let credential = &self.credentials.credential;
        let token = credential.fetch(&self.exchange, cx).await?;
        self.exchange.returned(&token);
        if credential.is_given() {
            let mut last = self
                .last_given
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let is_same = |last: &SecretText| last.expose_secret() == token.expose_secret();
            if cx.reason() == Reason::Rejected && last.as_ref().is_some_and(is_same) {
                let base = self.exchange.control_plane().base();
                let subject = credential.subject();
                let message = format!(
                    "{base} rejected {}, and there is no newer one yet",
                    subject.name
                );
                return Err(SourceError::invalid_credentials(message).with_advice(subject.advice));
            }
            *last = Some(token.expose_secret().into());
        }
        Ok(token)
    }
}
