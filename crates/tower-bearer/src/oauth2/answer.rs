//! Reads the answer of a token endpoint: a token, or why it is not one (G21).
//!
//! | answer | result |
//! | --- | --- |
//! | 2xx with a JSON object and a token | a token |
//! | 2xx with HTML, without JSON, without an object, without a token, with another `token_type`, or with an impossible lifetime | malformed |
//! | 2xx with an `error` member | invalid credentials if it names them, else malformed |
//! | 3xx | malformed: a redirect would pass the secret on |
//! | 404, 405, 410 | malformed: there is no such endpoint |
//! | 408, 425, 429, 5xx | transient, with its `Retry-After` |
//! | any other 4xx | invalid credentials |
//! | 1xx, 600 and above | malformed: HTTP has no such answer |
//!
//! | stated lifetime | result |
//! | --- | --- |
//! | `3600`, `3600.5`, `"3600"` | that many seconds |
//! | `9223372036854775807` | the longest that the cache accepts |
//! | missing, `null` | the JWT's, else the default |
//! | `0`, `-1`, `"abc"`, `true` | malformed |

use std::{error, fmt, time::Duration};

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    jwt::{self, JwtTimes},
    secret::SecretText,
    url::bare_url,
    wall,
};
use crate::{
    error::SourceError,
    foreign_text::ForeignText,
    token::{InvalidToken, Token},
};

/// The whole answer of a token endpoint. It may hold a token, so its memory is wiped, and `Debug` shows
/// none of it.
pub struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// The secrets of the request, which no error may repeat.
    pub(crate) secrets: Vec<SecretText>,
}

/// The validated contents of a token response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Issued {
    /// The access token, with its lifetime if that is known.
    pub token: Token,
    /// The refresh token, if there is one.
    pub refresh_token: Option<SecretText>,
    /// The ID token, if there is one.
    pub id_token: Option<SecretText>,
    /// The granted `scope`, if the answer states it. It is the server's text: do not log it as it is.
    pub scope: Option<String>,
}

/// Why an answer is not a usable token.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnswerError {
    /// It redirects there. That is not followed, because the secret would go along.
    Redirect(ForeignText),
    /// There is no such endpoint: 404, 405 or 410.
    Absent,
    /// It cannot give a token at present: 408, 425, 429 or a 5xx.
    Unavailable,
    /// The endpoint refused the request: any other 4xx.
    Refused,
    /// An `error` member in a 2xx answer: its value, and whether it means that the credentials are
    /// invalid.
    ErrorMember(ForeignText, bool),
    /// Its status is none of an answer: below 200, or 600 and above.
    Status,
    /// It is a web page.
    WebPage,
    /// It is not a JSON object.
    NotJson,
    /// It has no access token.
    NoToken,
    /// Its `token_type` is not bearer.
    TokenType,
    /// Its lifetime is not a positive number of seconds.
    Lifetime,
    /// Its access token cannot stand in a header.
    BadToken(InvalidToken),
}

impl AnswerError {
    /// Returns the error for a [`TokenSource`](crate::TokenSource), with the answer's `Retry-After`.
    #[must_use]
    pub fn into_error(self, answer: &Answer, message: impl Into<String>) -> SourceError {
        let message = message.into();
        match self {
            Self::Refused | Self::ErrorMember(_, true) => SourceError::invalid_credentials(message),
            Self::Unavailable => {
                let error = SourceError::transient(message);
                match answer.retry_after() {
                    Some(delay) => error.retry_after(delay),
                    None => error,
                }
            }
            Self::BadToken(invalid) => SourceError::malformed(message).with_source(invalid),
            _ => SourceError::malformed(message),
        }
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redirect(to) => write!(f, "the answer redirects to {to}"),
            Self::Absent => f.write_str("there is no such endpoint"),
            Self::Unavailable => f.write_str("the endpoint cannot give a token at present"),
            Self::Refused => f.write_str("the endpoint refused the request"),
            Self::ErrorMember(error, _) => write!(f, "the answer has the error {error}"),
            Self::Status => f.write_str("the answer's status is none that HTTP has"),
            Self::WebPage => f.write_str("the answer is a web page"),
            Self::NotJson => f.write_str("the answer is not a JSON object"),
            Self::NoToken => f.write_str("the answer has no access token"),
            Self::TokenType => f.write_str("the token is not a bearer token"),
            Self::Lifetime => {
                f.write_str("the token's lifetime is not a positive number of seconds")
            }
            Self::BadToken(_) => f.write_str("the access token cannot stand in a header"),
        }
    }
}

impl error::Error for AnswerError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::BadToken(invalid) => Some(invalid),
            _ => None,
        }
    }
}

/// Both spellings of each member are known, and an answer may have both.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    #[serde(rename = "accessToken")]
    access_token_v1: Option<String>,
    token_type: Option<Value>,
    #[serde(rename = "tokenType")]
    token_type_v1: Option<Value>,
    expires_in: Option<Value>,
    #[serde(rename = "expiresIn")]
    expires_in_v1: Option<Value>,
    refresh_token: Option<String>,
    #[serde(rename = "refreshToken")]
    refresh_token_v1: Option<String>,
    id_token: Option<String>,
    #[serde(rename = "idToken")]
    id_token_v1: Option<String>,
    scope: Option<Value>,
    error: Option<Value>,
}

impl Answer {
    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the body, which may hold secrets.
    #[must_use]
    pub fn expose_body(&self) -> &[u8] {
        &self.body
    }

    /// Validates the answer: a 2xx status, a JSON object, a bearer token that can stand in a header, and a
    /// positive lifetime.
    ///
    /// # Errors
    ///
    /// Why the answer is not a usable token.
    pub fn token(&self) -> Result<Issued, AnswerError> {
        self.token_at(wall::seconds_since_1970())
    }

    /// `local` is the local time in seconds since 1970.
    fn token_at(&self, local: f64) -> Result<Issued, AnswerError> {
        match self.status.as_u16() {
            200..=299 => {}
            300..=399 => return Err(AnswerError::Redirect(self.location())),
            404 | 405 | 410 => return Err(AnswerError::Absent),
            408 | 425 | 429 | 500..=599 => return Err(AnswerError::Unavailable),
            400..=499 => return Err(AnswerError::Refused),
            _ => return Err(AnswerError::Status),
        }
        // A struct would be taken from an array too.
        let is_object = self.body.trim_ascii_start().starts_with(b"{");
        let parsed: TokenAnswer = match serde_json::from_slice(&self.body) {
            Ok(parsed) if is_object => parsed,
            Ok(_) => return Err(AnswerError::NotJson),
            Err(_) if self.is_web_page() => return Err(AnswerError::WebPage),
            Err(_) => return Err(AnswerError::NotJson),
        };
        // Secrets are taken out first, so that their memory is wiped whatever comes next.
        let given = parsed.access_token.or(parsed.access_token_v1);
        let token = given.map(Token::new);
        let refresh_token = parsed.refresh_token.or(parsed.refresh_token_v1);
        let refresh_token = refresh_token.map(SecretText::from);
        let id_token = parsed.id_token.or(parsed.id_token_v1).map(SecretText::from);
        let is_error =
            |error: &Value| !matches!(error, Value::Null | Value::Bool(false)) && error != "";
        if let Some(error) = parsed.error.filter(is_error) {
            let name = error.as_str().unwrap_or("unnamed");
            let is_refusal = matches!(
                name,
                "invalid_client" | "unauthorized_client" | "invalid_grant"
            );
            return Err(AnswerError::ErrorMember(self.foreign(name), is_refusal));
        }
        let is_bearer = |kind: &Value| {
            kind.as_str()
                .is_some_and(|it| it.eq_ignore_ascii_case("bearer"))
        };
        if !parsed
            .token_type
            .or(parsed.token_type_v1)
            .is_none_or(|kind| kind.is_null() || is_bearer(&kind))
        {
            return Err(AnswerError::TokenType);
        }
        let token = token
            .ok_or(AnswerError::NoToken)?
            .map_err(AnswerError::BadToken)?;
        let stated = match parsed.expires_in.or(parsed.expires_in_v1) {
            None | Some(Value::Null) => None,
            Some(value) => Some(seconds(&value).ok_or(AnswerError::Lifetime)?),
        };
        let read = JwtTimes::read(token.expose_secret())
            .and_then(|times| jwt::lifetime(times, self.date(), local));
        let lifetime = match (stated, read) {
            (Some(stated), Some(read)) => Some(stated.min(read)),
            (one, other) => one.or(other),
        };
        Ok(Issued {
            token: match lifetime {
                Some(lifetime) => token.expires_in(lifetime),
                None => token,
            },
            refresh_token: refresh_token.filter(|it| !it.expose_secret().is_empty()),
            id_token: id_token.filter(|it| !it.expose_secret().is_empty()),
            scope: parsed
                .scope
                .and_then(|scope| scope.as_str().map(str::to_owned)),
        })
    }

    /// Returns the delay of `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_at(wall::seconds_since_1970())
    }

    fn retry_after_at(&self, local: f64) -> Option<Duration> {
        let text = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let at = since_1970(text)?;
        let left = at - self.date().unwrap_or(local);
        Duration::try_from_secs_f64(left).ok()
    }

    /// The server's time when it answered, in seconds since 1970.
    fn date(&self) -> Option<f64> {
        since_1970(self.headers.get(header::DATE)?.to_str().ok()?)
    }

    fn location(&self) -> ForeignText {
        let location = self.headers.get(header::LOCATION);
        let text = location
            .and_then(|it| it.to_str().ok())
            .unwrap_or("nowhere");
        self.foreign(&bare_url(text))
    }

    /// Returns true if the answer is a web page, which a wrong URL often gets.
    #[must_use]
    pub fn is_web_page(&self) -> bool {
        let says_so = self.headers.get(header::CONTENT_TYPE).is_some_and(|value| {
            value
                .as_bytes()
                .to_ascii_lowercase()
                .starts_with(b"text/html")
        });
        says_so || self.body.trim_ascii_start().starts_with(b"<")
    }

    /// Returns what the server itself says in an error: its `message` or `error_description`, else its
    /// `error`.
    #[must_use]
    pub fn message(&self) -> Option<ForeignText> {
        if self.status.is_success() {
            return None;
        }
        ["message", "error_description", "error"]
            .iter()
            .find_map(|member| self.member(member))
    }

    /// Returns the `error` of RFC 6749, section 5.2.
    #[must_use]
    pub fn error_code(&self) -> Option<ForeignText> {
        self.member("error")
    }

    /// Returns true if it refuses the grant, which is the refresh token or the person's consent, and not the
    /// client (RFC 6749, section 5.2).
    pub(crate) fn refuses_grant(&self) -> bool {
        let value: Option<Value> = serde_json::from_slice(&self.body).ok();
        value.is_some_and(|value| value.get("error").is_some_and(|it| it == "invalid_grant"))
    }

    /// A text member of a JSON object.
    fn member(&self, name: &str) -> Option<ForeignText> {
        let value: Value = serde_json::from_slice(&self.body).ok()?;
        value.get(name)?.as_str().map(|text| self.foreign(text))
    }

    /// A text of the server's, which may repeat what was sent.
    pub(crate) fn foreign(&self, text: &str) -> ForeignText {
        let secrets = self.secrets.iter().map(SecretText::expose_secret);
        ForeignText::without_secrets(text, secrets)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// A finite, positive number of seconds.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    if !seconds.is_finite() || seconds <= 0.0 {
        return None;
    }
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

fn since_1970(date: &str) -> Option<f64> {
    let at = httpdate::parse_http_date(date).ok()?;
    Some(at.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64())
}

#[cfg(test)]
mod tests;
