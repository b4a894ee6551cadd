use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Zeroizing::new(body.into()),
        secrets: Vec::new(),
    }
}

fn token(answer: &Answer, local: f64) -> Result<Token, AnswerError> {
    answer.token_at(local).map(|issued| issued.token)
}

fn with_lifetime(value: &str) -> Result<Token, AnswerError> {
    let body = format!(r#"{{"accessToken":"t","expiresIn":{value}}}"#);
    token(&answer(200, &body), 0.0)
}

fn shown(result: Result<Token, AnswerError>) -> String {
    match result {
        Ok(token) => format!("{token:?}"),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn b10_lifetimes_are_taken_or_rejected_as_documented() {
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
fn e01_each_answer_has_its_own_error() {
    for (status, body, expected) in [
        (100, "", "Status"),
        (199, "{}", "Status"),
        (600, "{}", "Status"),
        (999, r#"{"error":"invalid_client"}"#, "Status"),
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
        (200, "<!doctype html>", "WebPage"),
        (200, "{}", "NoToken"),
        (200, "{\"accessToken\":\"\"}", "BadToken"),
        (200, "{\"accessToken\":\"a b\"}", "BadToken"),
        (201, "{\"accessToken\":\"t\"}", "Token {"),
        (
            200,
            "{\"accessToken\":\"t\",\"error\":\"invalid_client\"}",
            "ErrorMember(\"invalid_client\", true)",
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
        (404, "", "Absent"),
        (408, "", "Unavailable"),
        (418, "", "Refused"),
        (429, "", "Unavailable"),
        (500, "", "Unavailable"),
        (503, "", "Unavailable"),
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
        answer.retry_after_at(1e9).map(|delay| delay.as_secs())
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
        let _maybe = answer.message();
    }
}
