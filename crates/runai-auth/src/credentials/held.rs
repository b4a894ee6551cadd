//! A token that somebody else got, and that cannot be refreshed here.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use tower_bearer::{
    FetchContext, SourceError, Token,
    oauth2::{JwtTimes, SecretText},
};

use super::{Credentials, Fetching, Login, Who};
use crate::{exchange::Exchange, secret::Secret};

#[derive(Debug)]
struct Held {
    token: Secret,
    name: String,
    advice: &'static str,
}

pub(super) fn credentials(token: Secret, name: String) -> Credentials {
    refreshed_by(token, name, "give another one")
}

/// A token that a person can refresh, by what `advice` says.
pub(super) fn refreshed_by(token: Secret, name: String, advice: &'static str) -> Credentials {
    Credentials::new(Held {
        token,
        name,
        advice,
    })
}

impl Login for Held {
    fn who(&self) -> Who {
        Who {
            name: self.name.clone(),
            advice: self.advice,
            once: false,
        }
    }

    fn epoch(&self) -> u64 {
        self.token.epoch()
    }

    fn is_held(&self) -> bool {
        true
    }

    fn fetch<'a>(&'a self, _: &'a Arc<Exchange>, _: &'a FetchContext) -> Fetching<'a> {
        Box::pin(async move {
            let text = self.token.current().await.map_err(|error| {
                let Self { name, advice, .. } = self;
                SourceError::transient(format!("{name} cannot be read: {advice}"))
                    .with_source(error)
            })?;
            token(&text, None, &self.name, self.advice)
        })
    }
}

/// A token that was found, with the lifetime that it tells by itself or that was told beside it
/// (`expires_at`, in seconds since 1970).
///
/// The local clock decides whether it has ended: there is no server to ask, and its 401 would come too
/// late.
pub(crate) fn token(
    text: &SecretText,
    expires_at: Option<f64>,
    name: &str,
    advice: &str,
) -> Result<Token, SourceError> {
    let text = text.expose_secret().trim();
    let token = Token::new(text).map_err(|error| {
        SourceError::malformed(format!("{name} cannot stand in a header")).with_source(error)
    })?;
    let read = JwtTimes::read(text).and_then(JwtTimes::expires_at);
    let ends = match (read, expires_at) {
        (Some(read), Some(told)) => Some(read.min(told)),
        (one, other) => one.or(other),
    };
    let Some(ends) = ends else {
        return Ok(token);
    };
    let left = JwtTimes::left_until(ends);
    if left.is_zero() {
        let at = UNIX_EPOCH + Duration::try_from_secs_f64(ends.max(0.0)).unwrap_or_default();
        return Err(SourceError::invalid_credentials(format!(
            "{name} ended on {}, by this machine's clock, and cannot be refreshed: {advice}",
            httpdate::fmt_http_date(at)
        )));
    }
    Ok(token.expires_in(left))
}
