//! Finds secrets in token requests, whichever endpoint version they were meant for.

use http::{HeaderMap, header};
use serde_json::Value;

/// The names of the secret fields of every endpoint version, in lower case.
const SECRET_FIELDS: [&str; 8] = [
    "appsecret",
    "clientsecret",
    "client_secret",
    "password",
    "refreshtoken",
    "refresh_token",
    "code",
    "externaltoken",
];

/// Returns true if the body or the authorization header of a token request carries a secret.
pub(crate) fn carries_secret(headers: &HeaderMap, body: &[u8]) -> bool {
    headers.contains_key(header::AUTHORIZATION) || has_secret(body)
}

fn has_secret(body: &[u8]) -> bool {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(members)) => members.iter().any(|(name, value)| {
            let empty = value.is_null() || value.as_str() == Some("");
            is_secret(name) && !empty
        }),
        Ok(_) => false,
        // The body was cut off, and the secret can be in the part that came.
        Err(_) if body.trim_ascii_start().starts_with(b"{") => {
            let text = String::from_utf8_lossy(body).to_lowercase();
            let text: String = text.split_whitespace().collect();
            SECRET_FIELDS.iter().any(|name| {
                let value = text.split_once(&format!("\"{name}\":\""));
                value.is_some_and(|(_, rest)| !rest.is_empty() && !rest.starts_with('"'))
            })
        }
        Err(_) => {
            form_urlencoded::parse(body).any(|(name, value)| is_secret(&name) && !value.is_empty())
        }
    }
}

fn is_secret(name: &str) -> bool {
    SECRET_FIELDS.contains(&name.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_seen_in_every_endpoint_version() {
        for body in [
            r#"{"grantType":"app_token","AppId":"a","AppSecret":"s"}"#,
            r#"{"appSecret":"s"}"#,
            r#"{"clientSecret":"s"}"#,
            r#"{"password":"p"}"#,
            r#"{"refreshToken":"r"}"#,
            r#"{"code":"c"}"#,
            r#"{"externalToken":"e"}"#,
            r#"{"AppId":"a", "AppSecret": "s"#,
            "grant_type=client_credentials&client_secret=s",
            "password=p",
            "refresh_token=r",
            "code=c",
        ] {
            assert!(has_secret(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn a_request_without_a_secret_is_recognised() {
        for body in [
            "",
            "{}",
            "[]",
            "7",
            r#"{"grantType":"password","username":"u","clientID":"c"}"#,
            r#"{"grantType":"refresh_token","refreshToken":""}"#,
            r#"{"refreshToken":null}"#,
            r#"{"grantType":"app_token","AppSecret":"#,
            r#"{"grantType":"password","#,
            "grant_type=refresh_token&client_id=c",
            "grant_type=password&password=",
        ] {
            assert!(!has_secret(body.as_bytes()), "{body}");
        }
        assert!(!carries_secret(&HeaderMap::new(), b"{}"));
    }
}
