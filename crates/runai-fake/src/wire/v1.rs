//! `POST /api/v1/token`: JSON with names in camel case.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use crate::{
    answer::Answer,
    behaviour::Behaviour,
    endpoint_version::EndpointVersion,
    state::{GrantError, GrantRequest, Granted, Reason, State},
};

/// The members of all grants. NVIDIA's how-to pages and its API documents write those for clients in
/// different case, so both are accepted.
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
    /// Returns what the grant's members present; `None` if one of them is missing.
    fn grant_request(&self, grant_type: &str) -> Option<Result<GrantRequest<'_>, Answer>> {
        let request = match grant_type {
            "app_token" => GrantRequest::Application {
                id: self.app_id.as_deref()?,
                secret: self.app_secret.as_deref()?,
            },
            "client_credentials" => GrantRequest::Application {
                id: self.client_id.as_deref()?,
                secret: self.client_secret.as_deref()?,
            },
            "password" => GrantRequest::Password {
                client: not_empty(&self.client_id)?,
                user: not_empty(&self.username)?,
                password: not_empty(&self.password)?,
            },
            "refresh_token" => GrantRequest::Refresh {
                client: not_empty(&self.client_id)?,
                token: not_empty(&self.refresh_token)?,
            },
            // v1 has no member for a verifier, so it denies a code that needs one.
            "exchange_token" => GrantRequest::Code {
                client: not_empty(&self.client_id)?,
                code: not_empty(&self.code)?,
                redirect_uri: not_empty(&self.redirect_uri)?,
                verifier: None,
            },
            "external_token_exchange" => GrantRequest::External {
                token: not_empty(&self.external_token)?,
            },
            _ => return Some(Err(Answer::error(400, "The grant type is not supported"))),
        };
        Some(Ok(request))
    }
}

fn not_empty(member: &Option<String>) -> Option<&str> {
    member.as_deref().filter(|text| !text.is_empty())
}

pub(crate) fn answer(
    state: &State,
    headers: &HeaderMap,
    body: &[u8],
    behaviour: &Behaviour,
) -> Answer {
    if !EndpointVersion::V1.takes(headers) {
        return Answer::error(400, "The body must be application/json");
    }
    let Ok(request) = serde_json::from_slice::<TokenRequest>(body) else {
        return Answer::error(400, "The body is not the JSON of a token request");
    };
    let Some(grant_type) = &request.grant_type else {
        return Answer::error(400, "Required parameter is missing: grantType");
    };
    let request = match request.grant_request(grant_type) {
        None => return Answer::error(400, "Required parameter is missing"),
        Some(Err(unsupported)) => return unsupported,
        Some(Ok(request)) => request,
    };
    let shape = behaviour.token.clone();
    match state.lock().grant(request, shape, EndpointVersion::V1) {
        Ok(granted) => success(granted),
        Err(error) => denied(error),
    }
}

fn success(granted: Granted) -> Answer {
    let mut body = json!({
        "accessToken": granted.token,
        "idToken": granted.token,
        "refreshToken": granted.refresh_token.unwrap_or_default(),
    });
    if let Some(expires_in) = granted.expires_in {
        body["expiresIn"] = expires_in;
    }
    if granted.token_type != "Bearer" {
        body["tokenType"] = granted.token_type.into();
    }
    Answer::json(200, &body).owned_by(Some(granted.generation), Some(granted.client))
}

/// The real service's answer to wrong credentials is not documented.
fn denied(GrantError { reason, client }: GrantError) -> Answer {
    let status = match reason {
        Reason::SessionEnded => 400,
        Reason::Internal(_) => 500,
        _ => 401,
    };
    Answer::error(status, reason.text()).owned_by(None, client)
}
