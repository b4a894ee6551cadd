//! What an answer of the token endpoint means: a token, or what is wrong with it (G21).
//!
//! | answer | taken for |
//! | --- | --- |
//! | 2xx with a JSON object and a token | a token |
//! | 2xx with HTML, no JSON, no object, no token, another `token_type`, a lifetime that is none | malformed |
//! | 2xx with an `error` member | refused if it names the credentials, else malformed |
//! | 3xx | malformed: a redirect would hand the secret on |
//! | 404, 405, 410 | malformed: there is no such endpoint |
//! | 408, 425, 429, 5xx | transient, with its `Retry-After` |
//! | any other 4xx | refused |
//!
//! | lifetime told | taken for |
//! | --- | --- |
//! | `3600`, `3600.5`, `"3600"` | that many seconds |
//! | `9223372036854775807` | the longest that is believed |
//! | none, `null` | unknown: the JWT's, else the default |
//! | `0`, `-1`, `"abc"`, `true` | malformed |

use std::time::Duration;

use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use tower_bearer::{InvalidToken, Token};

use crate::{jwt, transport::Answer};

/// What is wrong with an answer.
#[derive(Debug)]
pub(crate) enum Flaw {
    Redirect(String),
    NoSuchEndpoint,
    Failing,
    Refused,
    /// An `error` member in a 2xx answer.
    ErrorMember(String),
    Html,
    NotJson,
    NoToken,
    TokenType,
    Lifetime,
    BadToken(InvalidToken),
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
    error: Option<Value>,
}

/// The token in an answer; `local` is the local time in seconds since 1970.
pub(crate) fn token(answer: &Answer, local: f64) -> Result<Token, Flaw> {
    match answer.status.as_u16() {
        200..=299 => {}
        300..=399 => return Err(Flaw::Redirect(location(answer))),
        404 | 405 | 410 => return Err(Flaw::NoSuchEndpoint),
        408 | 425 | 429 | 500..=599 => return Err(Flaw::Failing),
        _ => return Err(Flaw::Refused),
    }
    // A struct would be taken from an array too.
    let is_object = answer.body.trim_ascii_start().starts_with(b"{");
    let parsed: TokenAnswer = match serde_json::from_slice(&answer.body) {
        Ok(parsed) if is_object => parsed,
        Ok(_) => return Err(Flaw::NotJson),
        Err(_) if is_html(answer) => return Err(Flaw::Html),
        Err(_) => return Err(Flaw::NotJson),
    };
    // It is taken out first, so that its memory is wiped whatever comes next.
    let given = parsed.access_token.or(parsed.access_token_v1);
    let token = given.map(Token::new);
    let told = |error: &Value| !matches!(error, Value::Null | Value::Bool(false)) && error != "";
    if let Some(error) = parsed.error.filter(told) {
        let name = error.as_str().unwrap_or("unnamed");
        return Err(Flaw::ErrorMember(name.to_owned()));
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
        return Err(Flaw::TokenType);
    }
    let token = token.ok_or(Flaw::NoToken)?.map_err(Flaw::BadToken)?;
    let told = match parsed.expires_in.or(parsed.expires_in_v1) {
        None | Some(Value::Null) => None,
        Some(value) => Some(seconds(&value).ok_or(Flaw::Lifetime)?),
    };
    let read = jwt::times(token.expose_secret())
        .and_then(|times| jwt::lifetime(times, date(answer), local));
    let lifetime = match (told, read) {
        (Some(told), Some(read)) => Some(told.min(read)),
        (one, other) => one.or(other),
    };
    Ok(match lifetime {
        Some(lifetime) => token.expires_in(lifetime),
        None => token,
    })
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

/// What `Retry-After` asks for (RFC 9110, section 10.2.3): seconds, or a date.
pub(crate) fn retry_after(answer: &Answer, local: f64) -> Option<Duration> {
    let text = answer
        .headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = since_1970(text)?;
    let left = at - date(answer).unwrap_or(local);
    Duration::try_from_secs_f64(left).ok()
}

/// The server's time when it answered, in seconds since 1970.
fn date(answer: &Answer) -> Option<f64> {
    since_1970(answer.headers.get(header::DATE)?.to_str().ok()?)
}

fn since_1970(date: &str) -> Option<f64> {
    let at = httpdate::parse_http_date(date).ok()?;
    Some(at.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64())
}

fn location(answer: &Answer) -> String {
    let location = answer.headers.get(header::LOCATION);
    location
        .and_then(|it| it.to_str().ok())
        .unwrap_or("nowhere")
        .to_owned()
}

fn is_html(answer: &Answer) -> bool {
    let says_so = answer
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| {
            value
                .as_bytes()
                .to_ascii_lowercase()
                .starts_with(b"text/html")
        });
    says_so || answer.body.trim_ascii_start().starts_with(b"<")
}

/// The server's own words in an error: its documented `message` or `error_description`, else its
/// `error`.
pub(crate) fn message(answer: &Answer) -> Option<String> {
    if answer.status == StatusCode::OK {
        return None;
    }
    let value: Value = serde_json::from_slice(&answer.body).ok()?;
    ["message", "error_description", "error"]
        .iter()
        .find_map(|member| value.get(member)?.as_str())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Zeroizing::new(body.into()),
        }
    }

    fn with_lifetime(value: &str) -> Result<Token, Flaw> {
        token(
            &answer(
                200,
                &format!(r#"{{"accessToken":"t","expiresIn":{value}}}"#),
            ),
            0.0,
        )
    }

    fn shown(result: Result<Token, Flaw>) -> String {
        match result {
            Ok(token) => format!("{token:?}"),
            Err(flaw) => format!("{flaw:?}"),
        }
    }

    #[test]
    fn b10_lifetimes_are_taken_or_refused_as_documented() {
        for (value, expected) in [
            ("3600", "Some(3600s)"),
            ("3600.5", "Some(3600.5s)"),
            ("\"3600\"", "Some(3600s)"),
            ("9223372036854775807", "Some(9223372036854775807"),
            ("null", "expires_in: None"),
            ("0", "Lifetime"),
            ("-1", "Lifetime"),
            ("\"abc\"", "Lifetime"),
            ("\"NaN\"", "Lifetime"),
            ("\"inf\"", "Lifetime"),
            ("true", "Lifetime"),
            ("1e309", "NotJson"),
        ] {
            let got = shown(with_lifetime(value));
            let got = got.replace("9223372036854775808", "9223372036854775807");
            assert!(got.contains(expected), "{value}: {got}");
        }
    }

    #[test]
    fn e01_each_answer_is_told_apart() {
        for (status, body, expected) in [
            (200, "", "NotJson"),
            (200, "[]", "NotJson"),
            (200, "[\"t\",null,null,null,null,null,null]", "NotJson"),
            (
                200,
                "{\"accessToken\":\"t\",\"access_token\":\"t\",\"error\":null}",
                "Token {",
            ),
            (200, "{\"accessToken\":\"t\",\"error\":false}", "Token {"),
            (200, "{\"accessToken\":\"t", "NotJson"),
            (200, "<!doctype html>", "Html"),
            (200, "{}", "NoToken"),
            (200, "{\"accessToken\":\"\"}", "BadToken"),
            (200, "{\"accessToken\":\"a b\"}", "BadToken"),
            (201, "{\"accessToken\":\"t\"}", "Token {"),
            (
                200,
                "{\"accessToken\":\"t\",\"error\":\"invalid_client\"}",
                "ErrorMember(\"invalid_client\")",
            ),
            (
                200,
                "{\"access_token\":\"t\",\"token_type\":\"BEARER\"}",
                "Token {",
            ),
            (
                200,
                "{\"access_token\":\"t\",\"token_type\":\"mac\"}",
                "TokenType",
            ),
            (302, "", "Redirect"),
            (400, "", "Refused"),
            (401, "", "Refused"),
            (403, "", "Refused"),
            (404, "", "NoSuchEndpoint"),
            (408, "", "Failing"),
            (418, "", "Refused"),
            (429, "", "Failing"),
            (500, "", "Failing"),
            (503, "", "Failing"),
        ] {
            let got = shown(token(&answer(status, body), 0.0));
            assert!(got.contains(expected), "{status} {body}: {got}");
        }
    }

    #[test]
    fn e02_retry_after_is_seconds_or_a_date() {
        let asked = |text: &'static str| {
            let mut answer = answer(429, "");
            answer
                .headers
                .insert("retry-after", HeaderValue::from_static(text));
            answer.headers.insert(
                "date",
                HeaderValue::from_static("Thu, 01 Jan 1970 00:01:00 GMT"),
            );
            retry_after(&answer, 1e9).map(|delay| delay.as_secs())
        };
        assert_eq!(asked("120"), Some(120));
        assert_eq!(asked("Thu, 01 Jan 1970 00:03:00 GMT"), Some(120));
        assert_eq!(asked("Thu, 01 Jan 1970 00:00:00 GMT"), None);
        assert_eq!(asked("soon"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_without_a_panic(status in 200..600u16, body in any::<Vec<u8>>()) {
            let mut answer = answer(status, "");
            answer.body = Zeroizing::new(body);
            let _either = token(&answer, 0.0);
            let _maybe = message(&answer);
        }
    }
}
