//! RFC 6749, as far as v2 and Keycloak have it in common.

use std::{borrow::Cow, collections::HashMap};

use http::HeaderMap;
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    behaviour::Behaviour,
    endpoint_version::EndpointVersion,
    state::{Applications, GrantError, GrantRequest, Granted, Reason, State},
};

/// The fields of an HTML form or a query. An empty field counts as missing (RFC 6749, section 3.2).
pub(crate) struct Fields<'a>(HashMap<Cow<'a, str>, Cow<'a, str>>);

impl<'a> Fields<'a> {
    pub(crate) fn parse(text: &'a [u8]) -> Self {
        let fields = form_urlencoded::parse(text);
        Self(fields.filter(|(_, value)| !value.is_empty()).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(AsRef::as_ref)
    }
}

/// Returns the fields of a request's body.
pub(crate) fn fields<'a>(
    version: EndpointVersion,
    headers: &HeaderMap,
    body: &'a [u8],
) -> Result<Fields<'a>, Box<Answer>> {
    if !version.takes(headers) {
        let text = "the body must be a form";
        return Err(Answer::oauth2(400, "invalid_request", text).into());
    }
    Ok(Fields::parse(body))
}

/// The client that asks for a token.
#[derive(Debug, Default)]
pub(crate) struct Client<'a> {
    pub(crate) id: Option<Cow<'a, str>>,
    /// `None` for a public client, with which users log in.
    pub(crate) secret: Option<Cow<'a, str>>,
}

impl<'a> Client<'a> {
    pub(crate) fn in_body(fields: &'a Fields<'_>) -> Self {
        Self {
            id: fields.get("client_id").map(Cow::Borrowed),
            secret: fields.get("client_secret").map(Cow::Borrowed),
        }
    }
}

pub(crate) fn grant(
    state: &State,
    fields: &Fields<'_>,
    client: &Client<'_>,
    behaviour: &Behaviour,
    version: EndpointVersion,
) -> Result<Granted, Box<Answer>> {
    let Some(grant_type) = fields.get("grant_type") else {
        let text = "grant_type is missing";
        return Err(Answer::oauth2(400, "invalid_request", text).into());
    };
    let Some(request) = grant_request(grant_type, fields, client)? else {
        let text = "a parameter of this grant is missing";
        return Err(Answer::oauth2(400, "invalid_request", text).into());
    };
    let mut memory = state.lock();
    let granted = match (&client.id, &client.secret) {
        // A user's grant needs no client secret, but one that comes must be right.
        (Some(id), Some(secret)) if !memory.applications.authenticate(id, secret) => {
            Err(Reason::Client.for_client(Some(id)))
        }
        _ => memory.grant(request, behaviour.token.clone(), version),
    };
    granted.map_err(|error| denied(&memory.applications, error, version).into())
}

/// Returns what the grant's fields present; `None` if one of them is missing.
fn grant_request<'a>(
    grant_type: &str,
    fields: &'a Fields<'_>,
    client: &'a Client<'_>,
) -> Result<Option<GrantRequest<'a>>, Box<Answer>> {
    let id = client.id.as_deref();
    let request = match grant_type {
        "client_credentials" => {
            let both = id.zip(client.secret.as_deref());
            both.map(|(id, secret)| GrantRequest::Application { id, secret })
        }
        "password" => (|| {
            Some(GrantRequest::Password {
                client: id?,
                user: fields.get("username")?,
                password: fields.get("password")?,
            })
        })(),
        "refresh_token" => (|| {
            Some(GrantRequest::Refresh {
                client: id?,
                token: fields.get("refresh_token")?,
            })
        })(),
        "authorization_code" => (|| {
            Some(GrantRequest::Code {
                client: id?,
                code: fields.get("code")?,
                redirect_uri: fields.get("redirect_uri")?,
                verifier: fields.get("code_verifier"),
            })
        })(),
        _ => {
            let text = "this grant is not supported";
            return Err(Answer::oauth2(400, "unsupported_grant_type", text).into());
        }
    };
    Ok(request)
}

fn denied(
    applications: &Applications,
    GrantError { reason, client }: GrantError,
    version: EndpointVersion,
) -> Answer {
    let is_keycloak = version == EndpointVersion::Keycloak;
    let is_known = client
        .as_deref()
        .is_some_and(|id| applications.contains(id));
    let (status, error) = match &reason {
        Reason::Internal(text) => return Answer::error(500, text),
        // Keycloak answers `invalid_client` only for a client that it does not know …
        Reason::Client if is_keycloak && is_known => (401, "unauthorized_client"),
        Reason::Client => (401, "invalid_client"),
        // … and 401 for a wrong password, where the RFC wants 400.
        Reason::Password if is_keycloak => (401, "invalid_grant"),
        _ => (400, "invalid_grant"),
    };
    let text = match &reason {
        Reason::Client if is_keycloak => "Invalid client or Invalid client credentials",
        Reason::Client => "Client authentication failed",
        reason => reason.text(),
    };
    Answer::oauth2(status, error, text).owned_by(None, client)
}

/// Returns the members of a success that v2 and Keycloak have in common.
pub(crate) fn success_body(granted: &Granted) -> Value {
    let mut body = json!({
        "access_token": granted.token,
        "token_type": granted.token_type,
    });
    if let Some(expires_in) = &granted.expires_in {
        body["expires_in"] = expires_in.clone();
    }
    if let Some(refresh_token) = &granted.refresh_token {
        body["refresh_token"] = refresh_token.as_str().into();
    }
    body
}

pub(crate) fn success(body: &Value, generation: u64, client: String) -> Answer {
    Answer::json(200, body)
        .owned_by(Some(generation), Some(client))
        .header("cache-control", "no-store")
}
