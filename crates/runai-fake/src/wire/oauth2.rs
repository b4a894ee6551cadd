//! What v2 and Keycloak have in common: RFC 6749.

use std::{borrow::Cow, collections::HashMap};

use http::HeaderMap;
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    behaviour::Behaviour,
    endpoint_version::EndpointVersion,
    route::has_content_type,
    state::{Grant, Proof, Reason, Refusal, State},
};

/// The fields of a form. One that is empty counts as left out (section 3.2).
pub(crate) struct Fields<'a>(HashMap<Cow<'a, str>, Cow<'a, str>>);

impl Fields<'_> {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(AsRef::as_ref)
    }
}

pub(crate) fn fields<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<Fields<'a>, Box<Answer>> {
    if !has_content_type(headers, "application/x-www-form-urlencoded") {
        let text = "the body must be a form";
        return Err(Answer::oauth2(400, "invalid_request", text).into());
    }
    Ok(parsed(body))
}

/// The fields of a text, such as a query.
pub(crate) fn parsed(text: &[u8]) -> Fields<'_> {
    let fields = form_urlencoded::parse(text);
    Fields(fields.filter(|(_, value)| !value.is_empty()).collect())
}

/// Which client asks.
#[derive(Debug, Default)]
pub(crate) struct Client<'a> {
    pub(crate) id: Option<Cow<'a, str>>,
    /// None of a client that people log in with.
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
    form: EndpointVersion,
) -> Result<Grant, Box<Answer>> {
    let Some(grant_type) = fields.get("grant_type") else {
        let text = "grant_type is missing";
        return Err(Answer::oauth2(400, "invalid_request", text).into());
    };
    let Some(proof) = proof(grant_type, fields, client)? else {
        let text = "a parameter of this grant is missing";
        return Err(Answer::oauth2(400, "invalid_request", text).into());
    };
    let refused = |refusal| Box::new(refused(state, refusal, form));
    // People need no secret for their client, but one that is shown has to be right.
    if let (Some(id), Some(secret)) = (&client.id, &client.secret) {
        if !state.knows(id, secret) {
            return Err(refused(Reason::Client.of(Some(id))));
        }
    }
    let grant = state.grant(proof, behaviour.token.clone(), false);
    grant.map_err(refused)
}

/// What a grant shows; `None` if a part of it is missing.
fn proof<'a>(
    grant_type: &str,
    fields: &'a Fields<'_>,
    client: &'a Client<'_>,
) -> Result<Option<Proof<'a>>, Box<Answer>> {
    let id = client.id.as_deref();
    let proof = match grant_type {
        "client_credentials" => {
            let both = id.zip(client.secret.as_deref());
            both.map(|(id, secret)| Proof::Application { id, secret })
        }
        "password" => (|| {
            Some(Proof::Password {
                client: id?,
                user: fields.get("username")?,
                password: fields.get("password")?,
            })
        })(),
        "refresh_token" => (|| {
            Some(Proof::Refresh {
                client: id?,
                token: fields.get("refresh_token")?,
            })
        })(),
        "authorization_code" => (|| {
            Some(Proof::Code {
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
    Ok(proof)
}

fn refused(state: &State, Refusal { reason, client }: Refusal, form: EndpointVersion) -> Answer {
    let is_keycloak = form == EndpointVersion::Keycloak;
    let known = client
        .as_deref()
        .is_some_and(|id| state.has_application(id));
    let (status, error) = match &reason {
        Reason::Broken(text) => return Answer::error(500, text),
        // Keycloak keeps the RFC's code for a client that it does not know at all …
        Reason::Client if is_keycloak && known => (401, "unauthorized_client"),
        Reason::Client => (401, "invalid_client"),
        // … and a status of its own for a password.
        Reason::Password if is_keycloak => (401, "invalid_grant"),
        _ => (400, "invalid_grant"),
    };
    let text = match reason {
        Reason::Client if is_keycloak => "Invalid client or Invalid client credentials",
        Reason::Client => "Client authentication failed",
        ref reason => reason.text(),
    };
    Answer::oauth2(status, error, text).of(None, client)
}

/// The members that both answer with.
pub(crate) fn granted(grant: &Grant) -> Value {
    let mut answer = json!({
        "access_token": grant.token,
        "token_type": grant.token_type,
    });
    if let Some(expires_in) = &grant.expires_in {
        answer["expires_in"] = expires_in.clone();
    }
    if let Some(refresh_token) = &grant.refresh_token {
        answer["refresh_token"] = refresh_token.as_str().into();
    }
    answer
}

pub(crate) fn sent(answer: &Value, generation: u64, client: String) -> Answer {
    Answer::json(200, answer)
        .of(Some(generation), Some(client))
        .header("cache-control", "no-store")
}
