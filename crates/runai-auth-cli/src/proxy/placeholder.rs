//! The placeholder for clients that insist on fetching a token themselves. It gives no access.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::path::EndpointVersion;
use crate::clock::seconds_since_1970;

/// Its lifetime: a day, after which a client fetches another.
const LIFETIME: u64 = 24 * 3600;

/// Makes a JWT with `exp`, which the SDK needs, and with a signature that no server accepts.
///
/// NVIDIA's SDK decodes the payload with plain base64: it must contain neither `-` nor `_`, and its length must be
/// a multiple of 4. Spaces at its end make the length right, and ASCII text without `>`, `?` and `~` does the rest.
fn jwt(now: u64) -> String {
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

/// Returns what that version of token endpoint answers.
pub(crate) fn answer(version: EndpointVersion) -> Value {
    let jwt = jwt(seconds_since_1970() as u64);
    match version {
        EndpointVersion::V1 => json!({
            "accessToken": jwt,
            "idToken": "",
            "refreshToken": "",
            "expiresIn": LIFETIME,
        }),
        EndpointVersion::V2 => json!({
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
        // Times of different lengths need each kind of padding.
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
