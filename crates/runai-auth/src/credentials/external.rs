//! A token of an outside identity provider.

use std::sync::Arc;

use tower_bearer::{FetchContext, SourceError};

use super::{Credentials, Fetching, Login, Who};
use crate::{exchange::Exchange, grant::Grant, secret::Secret};

#[derive(Debug)]
struct External {
    token: Secret,
}

pub(super) fn credentials(token: Secret) -> Credentials {
    Credentials::new(External { token })
}

impl Login for External {
    fn who(&self) -> Who {
        Who {
            name: "the outside token".into(),
            advice: "check that it has not expired, that the control plane (2.22 or later) trusts its \
                     issuer, and that its audience is the one that is expected",
            once: false,
        }
    }

    fn epoch(&self) -> u64 {
        self.token.epoch()
    }

    fn fetch<'a>(&'a self, exchange: &'a Arc<Exchange>, _cx: &'a FetchContext) -> Fetching<'a> {
        Box::pin(async move {
            let token = self.token.current().await.map_err(|error| {
                SourceError::transient("there is no outside token").with_source(error)
            })?;
            let grant = Grant::External { token };
            Ok(exchange.issue(&grant, &self.who()).await?.token)
        })
    }
}
