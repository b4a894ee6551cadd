//! A token that another party issued, which cannot be refreshed here.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use tower_bearer::{
    FetchContext, SourceError, Token,
    oauth2::{JwtTimes, SecretText},
};

use super::{
    credential::{Credential, Credentials, Fetching},
    unreadable::unreadable,
};
use crate::{
    exchange::{Exchange, Subject},
    files::shown_path,
    secret::Secret,
};

const ADVICE: &str = "provide a new one";

#[derive(Debug)]
struct GivenToken {
    token: Secret,
    name: String,
    advice: &'static str,
}

impl Credentials {
    /// Takes a token that another party issued: to try something, or for a program that ends before the
    /// token does.
    ///
    /// It cannot be refreshed. Once it has expired, requests fail with an error that says so.
    pub fn token(token: impl Into<SecretText>) -> Self {
        Self::new(GivenToken {
            token: Secret::from(token.into()),
            name: "the fixed token".into(),
            advice: ADVICE,
        })
    }

    /// Takes a token that another program keeps fresh in a file. The file is read again when it changes,
    /// and when the token is about to expire.
    pub fn token_file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self::new(GivenToken {
            name: format!("the token in {}", shown_path(&path)),
            token: Secret::file(path),
            advice: ADVICE,
        })
    }

    /// Takes the token that the Run:ai command line prints. Each fetch runs
    /// `runai auth get-token -o plaintext`.
    ///
    /// The control plane that the command line is logged in to is not checked; another one's token is
    /// rejected.
    #[must_use]
    pub fn cli_command() -> Self {
        let args = ["auth", "get-token", "-o", "plaintext"];
        Self::new(GivenToken {
            token: Secret::command("runai", args),
            name: "the token that `runai auth get-token` prints".into(),
            advice: "run `runai login`",
        })
    }
}

impl Credential for GivenToken {
    fn subject(&self) -> Subject {
        Subject {
            name: self.name.clone(),
            advice: self.advice,
            single_use: false,
        }
    }

    fn epoch(&self) -> u64 {
        self.token.epoch()
    }

    fn is_given(&self) -> bool {
        true
    }

    fn known_secrets(&self) -> Vec<SecretText> {
        self.token.known().into_iter().collect()
    }

    fn fetch<'a>(&'a self, _: &'a Arc<Exchange>, _: &'a FetchContext) -> Fetching<'a> {
        Box::pin(async move {
            let text = self.token.current().await.map_err(|error| {
                let message = format!("{} cannot be read", self.name);
                unreadable(&message, error, self.advice)
            })?;
            given_token(&text, None, &self.name, self.advice)
        })
    }
}

/// Checks a token that another party issued, and takes its lifetime from the token itself or from
/// `expires_at` (in seconds since 1970), whichever is earlier.
///
/// The local clock decides whether the token has expired: there is no server to ask, and a 401 would come
/// too late.
pub(super) fn given_token(
    text: &SecretText,
    expires_at: Option<f64>,
    name: &str,
    advice: &'static str,
) -> Result<Token, SourceError> {
    let text = text.expose_secret().trim();
    let token = Token::new(text).map_err(|error| {
        SourceError::malformed(format!("{name} is not allowed in a header"))
            .with_advice(advice)
            .with_source(error)
    })?;
    let in_token = JwtTimes::read(text).and_then(JwtTimes::expires_at);
    let expires_at = match (in_token, expires_at) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let Some(expires_at) = expires_at else {
        return Ok(token);
    };
    let left = JwtTimes::left_until(expires_at);
    if left.is_zero() {
        let at = UNIX_EPOCH + Duration::try_from_secs_f64(expires_at.max(0.0)).unwrap_or_default();
        let at = httpdate::fmt_http_date(at);
        let message =
            format!("{name} expired on {at} by this machine's clock, and cannot be refreshed");
        return Err(SourceError::invalid_credentials(message).with_advice(advice));
    }
    Ok(token.expires_in(left))
}
