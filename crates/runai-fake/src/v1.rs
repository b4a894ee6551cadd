//! `POST /api/v1/token`: JSON, camelCase.

use http::HeaderMap;
use serde::Deserialize;

use crate::{answer::Answer, behaviour::Behaviour, handler::has_content_type, state::State};

pub(crate) const PATH: &str = "/api/v1/token";

/// The members that the grants for clients use. The how-to pages and the documents disagree on their
/// case, so both are taken.
#[derive(Deserialize)]
struct TokenRequest {
    #[serde(rename = "grantType")]
    grant_type: Option<String>,
    #[serde(rename = "AppId", alias = "appID")]
    app_id: Option<String>,
    #[serde(rename = "AppSecret", alias = "appSecret")]
    app_secret: Option<String>,
    #[serde(rename = "clientId", alias = "clientID")]
    client_id: Option<String>,
    #[serde(rename = "clientSecret")]
    client_secret: Option<String>,
}

pub(crate) fn answer(
    state: &State,
    headers: &HeaderMap,
    body: &[u8],
    behaviour: &Behaviour,
) -> Answer {
    if !has_content_type(headers, "application/json") {
        return Answer::error(400, "The body must be application/json");
    }
    let Ok(request) = serde_json::from_slice::<TokenRequest>(body) else {
        return Answer::error(400, "The body is not the JSON of a token request");
    };
    let (id, secret) = match request.grant_type.as_deref() {
        Some("app_token") => (request.app_id, request.app_secret),
        Some("client_credentials") => (request.client_id, request.client_secret),
        Some(_) => return Answer::error(400, "The grant type is not supported"),
        None => return Answer::error(400, "Required parameter is missing: grantType"),
    };
    let (Some(id), Some(secret)) = (id, secret) else {
        return Answer::error(400, "Required parameter is missing");
    };
    if !state.knows(&id, &secret) {
        // What the real service answers to a wrong secret is not documented.
        return Answer::error(401, "Invalid client credentials").of(None, Some(id));
    }
    let grant = match state.issue(&id, behaviour.token.clone(), true) {
        Ok(grant) => grant,
        Err(error) => return Answer::error(500, &error.to_string()),
    };
    let mut answer = serde_json::json!({
        "accessToken": grant.token,
        "idToken": grant.token,
        "refreshToken": "",
    });
    if let Some(expires_in) = grant.expires_in {
        answer["expiresIn"] = expires_in;
    }
    if grant.token_type != "Bearer" {
        answer["tokenType"] = grant.token_type.into();
    }
    Answer::json(200, &answer).of(grant.generation, Some(id))
}
