//! The claims of a JWT, for display. Nothing is verified: the control plane does that.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use runai_auth::{Auth, tower_bearer::ForeignText};
use serde_json::{Map, Value};

use crate::clock;

/// The claims that say whose token it is.
const OWNER: [&str; 11] = [
    "iss",
    "sub",
    "azp",
    "client_id",
    "clientId",
    "email",
    "preferred_username",
    "name",
    "tenantId",
    "tenant_id",
    "iat",
];

/// Returns the claims of a token, or `None` if it is not a JWT.
pub(crate) fn claims(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    match serde_json::from_slice(&claims) {
        Ok(Value::Object(claims)) => Some(claims),
        _ => None,
    }
}

/// Returns the claims that say whose token it is. None repeats a secret, and none is long.
pub(crate) fn owner(claims: &Map<String, Value>, auth: &Auth) -> Value {
    let found = OWNER
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), shown(claims.get(*name)?, auth))));
    Value::Object(found.collect())
}

/// Returns a claim as a text.
pub(crate) fn text(claim: &Value) -> String {
    match claim {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn shown(claim: &Value, auth: &Auth) -> Value {
    let text = text(claim);
    let foreign = auth.foreign_text(&text).to_string();
    if !foreign.starts_with('"') {
        // It says why it does not quote the claim.
        return foreign.into();
    }
    match text.char_indices().nth(ForeignText::MAX_CHARS) {
        None => claim.clone(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

/// Returns how long a token still lives, by its `exp` and this machine's clock.
pub(crate) fn time_left(token: &str) -> Option<Duration> {
    let expires_at = claims(token)?.get("exp")?.as_f64()?;
    let left = expires_at - clock::seconds_since_1970();
    Some(Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(Duration::MAX))
}
