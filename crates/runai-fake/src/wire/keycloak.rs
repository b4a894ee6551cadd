//! The Keycloak underneath: `/auth/realms/<realm>/…`.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Uri, header, request};
use serde_json::json;

use crate::{
    answer::Answer,
    behaviour::Behaviour,
    endpoint_version::{Endpoint, EndpointVersion},
    state::{Code, REFRESH_LIFETIME, State},
    wire::oauth2::{self, Client, Fields},
};

const TOKEN: &str = "protocol/openid-connect/token";
const LOGIN: &str = "protocol/openid-connect/auth";
const CONFIGURATION: &str = ".well-known/openid-configuration";

/// The realm of a path and what it is for, if it is one of Keycloak's.
pub(crate) fn page(path: &str) -> Option<(&str, Endpoint)> {
    let (realm, page) = path.strip_prefix("/auth/realms/")?.split_once('/')?;
    let endpoint = match page {
        TOKEN => Endpoint::Token(EndpointVersion::Keycloak),
        LOGIN => Endpoint::Login,
        CONFIGURATION => Endpoint::Configuration,
        _ => return None,
    };
    (!realm.is_empty()).then_some((realm, endpoint))
}

pub(crate) fn answer(
    state: &State,
    head: &request::Parts,
    body: &[u8],
    behaviour: &Behaviour,
) -> Answer {
    match page(head.uri.path()) {
        Some((realm, endpoint)) if realm == state.realm() => match endpoint {
            Endpoint::Configuration => configuration(state, head),
            Endpoint::Login => login(state, head.uri.query().unwrap_or_default()),
            _ => token(state, &head.headers, body, behaviour),
        },
        _ => Answer::json(404, &json!({"error": "Realm does not exist"})),
    }
}

/// The discovery document (OpenID Connect Discovery 1.0, section 3), as far as a client for tokens
/// reads it.
fn configuration(state: &State, head: &request::Parts) -> Answer {
    // As it was asked for, since a test may come by another name or through a proxy.
    let host = head.headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let host = host.or_else(|| head.uri.authority().map(|it| it.as_str()));
    let base = match (host, state.url().split_once("://")) {
        (Some(host), Some((scheme, _))) => format!("{scheme}://{host}"),
        _ => state.url().to_owned(),
    };
    let issuer = format!("{base}/auth/realms/{}", state.realm());
    let token_endpoint = state
        .token_endpoint()
        .unwrap_or_else(|| format!("{issuer}/{TOKEN}"));
    let document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/{LOGIN}"),
        "token_endpoint": token_endpoint,
        "grant_types_supported": [
            "authorization_code", "client_credentials", "password", "refresh_token",
        ],
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    });
    Answer::json(200, &document)
}

/// Logs the first user in without asking.
fn login(state: &State, query: &str) -> Answer {
    match redirect(state, &oauth2::parsed(query.as_bytes())) {
        Ok(location) => Answer::new(302, "text/plain", "").header("location", location),
        Err(flaw) => Answer::new(400, "text/plain", flaw),
    }
}

fn redirect(state: &State, query: &Fields<'_>) -> Result<String, String> {
    let needed = |name: &str| {
        let value = query.get(name);
        value.ok_or_else(|| format!("Missing parameter: {name}"))
    };
    let invalid = |name: &str| format!("Invalid parameter: {name}");
    if needed("response_type")? != "code" {
        return Err(invalid("response_type"));
    }
    let (client, redirect_uri) = (needed("client_id")?, needed("redirect_uri")?);
    let oauth_state = needed("state")?;
    let whole = redirect_uri
        .parse::<Uri>()
        .is_ok_and(|uri| uri.scheme().is_some() && !redirect_uri.contains('#'));
    if !whole {
        return Err(invalid("redirect_uri"));
    }
    let challenge = match (
        query.get("code_challenge"),
        query.get("code_challenge_method"),
    ) {
        (Some(challenge), Some("S256")) => Some(challenge.to_owned()),
        (None, None) => None,
        (None, Some(_)) => return Err("Missing parameter: code_challenge".into()),
        // Without a method it would be `plain`, which is no secret.
        (Some(_), _) => return Err(invalid("code_challenge_method")),
    };
    let user = state.first_user().ok_or("There is nobody to log in")?;
    let code = state.code_of(Code {
        user,
        client: client.into(),
        redirect_uri: redirect_uri.into(),
        challenge,
    });
    let answer = form_urlencoded::Serializer::new(String::new())
        .append_pair("state", oauth_state)
        .append_pair("code", &code)
        .finish();
    let joint = if redirect_uri.contains('?') { '&' } else { '?' };
    Ok(format!("{redirect_uri}{joint}{answer}"))
}

fn token(state: &State, headers: &HeaderMap, body: &[u8], behaviour: &Behaviour) -> Answer {
    let fields = match oauth2::fields(headers, body) {
        Ok(fields) => fields,
        Err(answer) => return *answer,
    };
    let grant = client(headers, &fields).and_then(|client| {
        oauth2::grant(
            state,
            &fields,
            &client,
            behaviour,
            EndpointVersion::Keycloak,
        )
    });
    let grant = match grant {
        Ok(grant) => grant,
        Err(answer) => return *answer,
    };
    let mut answer = oauth2::granted(&grant);
    answer["id_token"] = grant.token.into();
    answer["scope"] = fields.get("scope").unwrap_or("openid email profile").into();
    // 0 where there is nothing to refresh with.
    let lifetime = grant.refresh_token.map_or(0, |_| REFRESH_LIFETIME);
    answer["refresh_expires_in"] = lifetime.into();
    oauth2::sent(&answer, grant.generation, grant.client)
}

/// The client by HTTP Basic or in the body, but not by both (RFC 6749, section 2.3).
fn client<'a>(headers: &HeaderMap, fields: &'a Fields<'_>) -> Result<Client<'a>, Box<Answer>> {
    let in_body = Client::in_body(fields);
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(in_body);
    };
    let Some((id, secret)) = value.to_str().ok().and_then(basic) else {
        let text = "the authorization header is not that of a client";
        return Err(Answer::oauth2(401, "invalid_client", text).into());
    };
    if in_body.secret.is_some() || in_body.id.is_some_and(|it| it != id) {
        let text = "the client authenticates in two ways";
        return Err(Answer::oauth2(400, "invalid_request", text).into());
    }
    Ok(Client {
        id: Some(id.into()),
        // Clients of people send an empty one where they have none.
        secret: (!secret.is_empty()).then_some(Cow::Owned(secret)),
    })
}

fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((decoded(id), decoded(secret)))
}

/// Each half is encoded as in a form (RFC 6749, section 2.3.1); one that is not stays as it is, as far
/// as `%` and `+` allow.
fn decoded(half: &str) -> String {
    let one_name = half.replace('&', "%26").replace('=', "%3D");
    let name = form_urlencoded::parse(one_name.as_bytes()).next();
    name.map(|(name, _)| name.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_is_read_encoded_or_not() {
        for (pair, id, secret) in [
            ("a:s", "a", "s"),
            ("a%3Ab:s%26%3D%2B+%25", "a:b", "s&=+ %"),
            ("a:s&t=u:v", "a", "s&t=u:v"),
            (":", "", ""),
        ] {
            let value = format!("basic {}", STANDARD.encode(pair));
            assert_eq!(basic(&value), Some((id.into(), secret.into())), "{pair}");
        }
        for none in ["", "Basic", "Basic !", "Basic YQ==", "Bearer YTpi"] {
            assert_eq!(basic(none), None, "{none}");
        }
    }
}
