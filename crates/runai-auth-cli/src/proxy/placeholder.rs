//! The token that clients get who insist on fetching one themselves. It opens nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::token::seconds_since_1970;

/// How long it says that it lives: a day, after which a client fetches another.
pub(crate) const LIFETIME: u64 = 24 * 3600;

/// A JWT with `exp`, which the SDK wants, and no signature that anybody would take.
///
/// NVIDIA's SDK decodes the payload with plain base64: it must have no `-` and no `_`, and its length must
/// divide by 4. Spaces at its end see to the length, and ASCII text without `>`, `?` and `~` to the rest.
pub(crate) fn jwt(now: u64) -> String {
    let header = padded(json!({"alg": "none", "typ": "JWT"}));
    let payload = padded(json!({
        "iss": "runai-auth proxy",
        "sub": "placeholder",
        "iat": now,
        "exp": now + LIFETIME,
    }));
    format!("{header}.{payload}.placeholder")
}

fn padded(json: Value) -> String {
    let mut text = json.to_string();
    while text.len() % 3 != 0 {
        text.push(' ');
    }
    URL_SAFE_NO_PAD.encode(text)
}

/// Which form of token endpoint is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    V1,
    V2,
}

/// What that endpoint answers.
pub(crate) fn answer(form: Form) -> Value {
    // A clock before 1970 gives 0.
    let jwt = jwt(seconds_since_1970() as u64);
    match form {
        Form::V1 => json!({
            "accessToken": jwt,
            "idToken": "",
            "refreshToken": "",
            "expiresIn": LIFETIME,
        }),
        Form::V2 => json!({
            "access_token": jwt,
            "token_type": "Bearer",
            "expires_in": LIFETIME,
        }),
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn the_sdk_can_decode_it() {
        // Times of many lengths, so that padding of each kind is needed.
        for now in [0, 7, 99_999, 1_700_000_000, 1_799_999_999, 9_999_999_999] {
            let jwt = jwt(now);
            let parts: Vec<_> = jwt.split('.').collect();
            assert_eq!(parts.len(), 3, "{jwt}");
            for part in &parts[..2] {
                assert_eq!(part.len() % 4, 0, "{part}");
                assert!(!part.contains(['-', '_']), "{part}");
            }
            let payload = STANDARD.decode(parts[1]).unwrap();
            let payload: Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!(payload["exp"], now + LIFETIME);
            assert_eq!(payload["iss"], "runai-auth proxy");
        }
    }
}
