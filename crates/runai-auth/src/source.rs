//! The source of tokens that a control plane's cache has.

use std::{borrow::Cow, sync::Arc};

use tower_bearer::{FetchContext, SourceError, Token, TokenSource};

use crate::{credentials::Credentials, exchange::Exchange};

/// Asks one control plane for tokens, with one set of credentials: the source of the cache that
/// [`ControlPlane::authenticate_with`] sets up.
#[derive(Debug)]
pub struct ControlPlaneSource {
    exchange: Arc<Exchange>,
    credentials: Credentials,
}

impl ControlPlaneSource {
    pub(crate) fn new(exchange: Arc<Exchange>, credentials: Credentials) -> Self {
        Self {
            exchange,
            credentials,
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
        self.credentials.login.fetch(&self.exchange, cx).await
    }
}
