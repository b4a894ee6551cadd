//! A token of an external identity provider.

use std::sync::Arc;

use tower_bearer::{FetchContext, oauth2::SecretText};

use super::{
    credential::{Credential, Credentials, Fetching},
    unreadable::unreadable,
};
use crate::{
    exchange::{Exchange, Grant, Subject},
    secret::Secret,
};

#[derive(Debug)]
struct ExternalToken {
    token: Secret,
}

impl Credentials {
    /// Takes a token of an external identity provider that the control plane trusts, and redeems it for
    /// one of the control plane's own (2.22 and later, `/api/v1/token` only). Kubernetes' projected
    /// service-account token is one. For programs that should have no secret of their own.
    ///
    /// ```
    /// use runai_auth::{Credentials, Secret};
    ///
    /// let pod = Credentials::external_token(Secret::file("/var/run/secrets/tokens/runai"));
    /// let other = Credentials::external_token(Secret::command("my-idp", ["print-token"]));
    /// # drop((pod, other));
    /// ```
    pub fn external_token(token: impl Into<Secret>) -> Self {
        let token = token.into();
        Self::new(ExternalToken { token })
    }
}

impl Credential for ExternalToken {
    fn subject(&self) -> Subject {
        Subject {
            name: "the external token".into(),
            advice: "check that it has not expired, that the control plane (2.22 or later) trusts its \
                     issuer, and that its audience is the expected one",
            single_use: false,
        }
    }

    fn epoch(&self) -> u64 {
        self.token.epoch()
    }

    fn known_secrets(&self) -> Vec<SecretText> {
        self.token.known().into_iter().collect()
    }

    fn fetch<'a>(&'a self, exchange: &'a Arc<Exchange>, _cx: &'a FetchContext) -> Fetching<'a> {
        Box::pin(async move {
            let token = self.token.current().await.map_err(|error| {
                let advice = "check the place that it is read from";
                unreadable("there is no external token", error, advice)
            })?;
            let grant = Grant::External { token };
            Ok(exchange.issue(&grant, &self.subject()).await?.token)
        })
    }
}
