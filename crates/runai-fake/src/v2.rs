//! `POST /api/v2/token`: a form, RFC 6749.

use std::collections::HashMap;

use http::HeaderMap;

use crate::{answer::Answer, behaviour::Behaviour, handler::has_content_type, state::State};

pub(crate) const PATH: &str = "/api/v2/token";

pub(crate) fn answer(
    state: &State,
    headers: &HeaderMap,
    body: &[u8],
    behaviour: &Behaviour,
) -> Answer {
    if !has_content_type(headers, "application/x-www-form-urlencoded") {
        return Answer::oauth2(400, "invalid_request", "the body must be a form");
    }
    let form: HashMap<_, _> = form_urlencoded::parse(body).collect();
    match form.get("grant_type").map(AsRef::as_ref) {
        Some("client_credentials") => {}
        Some(_) => {
            return Answer::oauth2(400, "unsupported_grant_type", "this grant is not supported");
        }
        None => return Answer::oauth2(400, "invalid_request", "grant_type is missing"),
    }
    let (Some(id), Some(secret)) = (form.get("client_id"), form.get("client_secret")) else {
        return Answer::oauth2(
            400,
            "invalid_request",
            "client_id or client_secret is missing",
        );
    };
    let client = Some(id.to_string());
    if !state.knows(id, secret) {
        return Answer::oauth2(401, "invalid_client", "Client authentication failed")
            .of(None, client);
    }
    let grant = match state.issue(id, behaviour.token.clone(), false) {
        Ok(grant) => grant,
        Err(error) => return Answer::error(500, &error.to_string()),
    };
    let mut answer = serde_json::json!({
        "access_token": grant.token,
        "token_type": grant.token_type,
    });
    if let Some(expires_in) = grant.expires_in {
        answer["expires_in"] = expires_in;
    }
    Answer::json(200, &answer)
        .of(grant.generation, client)
        .header("cache-control", "no-store")
}
