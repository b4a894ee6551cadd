//! `POST /api/v1/token`: JSON, camelCase.

use http::HeaderMap;
use serde::Deserialize;

use crate::{
    answer::Answer,
    behaviour::Behaviour,
    route::has_content_type,
    state::{Grant, Proof, Reason, Refusal, State},
};

pub(crate) const PATH: &str = "/api/v1/token";

/// The members that the grants use. The how-to pages and the documents disagree on the case of those
/// for clients, so both are taken.
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
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "refreshToken")]
    refresh_token: Option<String>,
    code: Option<String>,
    #[serde(rename = "redirectUri")]
    redirect_uri: Option<String>,
    #[serde(rename = "externalToken")]
    external_token: Option<String>,
}

impl TokenRequest {
    /// What a grant shows; `None` if a part of it is missing.
    fn proof(&self, grant_type: &str) -> Option<Result<Proof<'_>, Answer>> {
        let proof = match grant_type {
            "app_token" => Proof::Application {
                id: self.app_id.as_deref()?,
                secret: self.app_secret.as_deref()?,
            },
            "client_credentials" => Proof::Application {
                id: self.client_id.as_deref()?,
                secret: self.client_secret.as_deref()?,
            },
            "password" => Proof::Password {
                client: told(&self.client_id)?,
                user: told(&self.username)?,
                password: told(&self.password)?,
            },
            "refresh_token" => Proof::Refresh {
                client: told(&self.client_id)?,
                token: told(&self.refresh_token)?,
            },
            // There is no member for a verifier, so a code that needs one is refused here.
            "exchange_token" => Proof::Code {
                client: told(&self.client_id)?,
                code: told(&self.code)?,
                redirect_uri: told(&self.redirect_uri)?,
                verifier: None,
            },
            "external_token_exchange" => Proof::Outside {
                token: told(&self.external_token)?,
            },
            _ => return Some(Err(Answer::error(400, "The grant type is not supported"))),
        };
        Some(Ok(proof))
    }
}

/// A member that is there and says something.
fn told(member: &Option<String>) -> Option<&str> {
    member.as_deref().filter(|text| !text.is_empty())
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
    let Some(grant_type) = &request.grant_type else {
        return Answer::error(400, "Required parameter is missing: grantType");
    };
    match request.proof(grant_type) {
        None => Answer::error(400, "Required parameter is missing"),
        Some(Err(unsupported)) => unsupported,
        Some(Ok(proof)) => match state.grant(proof, behaviour.token.clone(), true) {
            Ok(grant) => granted(grant),
            Err(refusal) => refused(refusal),
        },
    }
}

fn granted(grant: Grant) -> Answer {
    let mut answer = serde_json::json!({
        "accessToken": grant.token,
        "idToken": grant.token,
        "refreshToken": grant.refresh_token.unwrap_or_default(),
    });
    if let Some(expires_in) = grant.expires_in {
        answer["expiresIn"] = expires_in;
    }
    if grant.token_type != "Bearer" {
        answer["tokenType"] = grant.token_type.into();
    }
    Answer::json(200, &answer).of(Some(grant.generation), Some(grant.client))
}

/// What the real service answers to wrong credentials is not documented.
fn refused(Refusal { reason, client }: Refusal) -> Answer {
    let status = match reason {
        Reason::Ended => 400,
        Reason::Broken(_) => 500,
        _ => 401,
    };
    Answer::error(status, reason.text()).of(None, client)
}
