//! Keycloak, which lies below `/auth/realms/<realm>/`: its token endpoint, discovery document and login.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Uri, header, request};
use serde_json::json;

use super::oauth2::{self, Client, Fields};
use crate::{
    answer::Answer,
    behaviour::Behaviour,
    endpoint_version::{Endpoint, EndpointVersion, KEYCLOAK_LOGIN, KEYCLOAK_TOKEN, keycloak_page},
    state::{AuthorizationCode, REFRESH_TOKEN_LIFETIME, State},
};

pub(crate) fn answer(
    state: &State,
    head: &request::Parts,
    body: &[u8],
    behaviour: &Behaviour,
) -> Answer {
    match keycloak_page(head.uri.path()) {
        Some((realm, endpoint)) if realm == state.realm() => match endpoint {
            Endpoint::Discovery => discovery(state, head),
            Endpoint::Login => login(state, head.uri.query().unwrap_or_default()),
            _ => token(state, &head.headers, body, behaviour),
        },
        _ => Answer::json(404, &json!({"error": "Realm does not exist"})),
    }
}

/// Returns the discovery document (OpenID Connect Discovery 1.0, section 3), with the members that a
/// token client reads.
fn discovery(state: &State, head: &request::Parts) -> Answer {
    // The URLs have the host of the request: a test may use another name, or a proxy.
    let host = head.headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let host = host.or_else(|| head.uri.authority().map(|it| it.as_str()));
    let base = match (host, state.url().split_once("://")) {
        (Some(host), Some((scheme, _))) => format!("{scheme}://{host}"),
        _ => state.url().to_owned(),
    };
    let issuer = format!("{base}/auth/realms/{}", state.realm());
    let token_endpoint = state.lock().discovered_token_endpoint.clone();
    let token_endpoint = token_endpoint.unwrap_or_else(|| format!("{issuer}/{KEYCLOAK_TOKEN}"));
    let document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/{KEYCLOAK_LOGIN}"),
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

/// Logs the first user in, without a page to fill in.
fn login(state: &State, query: &str) -> Answer {
    match redirect(state, &Fields::parse(query.as_bytes())) {
        Ok(location) => Answer::new(302, "text/plain", "").header("location", location),
        Err(problem) => Answer::new(400, "text/plain", problem),
    }
}

/// Returns the URI to which the login page redirects, or what is wrong with the request.
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
    let is_absolute = redirect_uri
        .parse::<Uri>()
        .is_ok_and(|uri| uri.scheme().is_some() && !redirect_uri.contains('#'));
    if !is_absolute {
        return Err(invalid("redirect_uri"));
    }
    let challenge = match (
        query.get("code_challenge"),
        query.get("code_challenge_method"),
    ) {
        (Some(challenge), Some("S256")) => Some(challenge.to_owned()),
        (None, None) => None,
        (None, Some(_)) => return Err("Missing parameter: code_challenge".into()),
        // Without a method the challenge would be `plain`, which protects nothing.
        (Some(_), _) => return Err(invalid("code_challenge_method")),
    };
    let mut memory = state.lock();
    let user = memory.users.first().ok_or("There is no user to log in")?;
    let user = user.to_owned();
    let code = memory.users.new_code(AuthorizationCode {
        user,
        client: client.into(),
        redirect_uri: redirect_uri.into(),
        challenge,
    });
    let answer = form_urlencoded::Serializer::new(String::new())
        .append_pair("state", oauth_state)
        .append_pair("code", &code)
        .finish();
    let separator = if redirect_uri.contains('?') { '&' } else { '?' };
    Ok(format!("{redirect_uri}{separator}{answer}"))
}

fn token(state: &State, headers: &HeaderMap, body: &[u8], behaviour: &Behaviour) -> Answer {
    let version = EndpointVersion::Keycloak;
    let fields = match oauth2::fields(version, headers, body) {
        Ok(fields) => fields,
        Err(answer) => return *answer,
    };
    let granted = client(headers, &fields)
        .and_then(|client| oauth2::grant(state, &fields, &client, behaviour, version));
    let granted = match granted {
        Ok(granted) => granted,
        Err(answer) => return *answer,
    };
    let mut body = oauth2::success_body(&granted);
    body["id_token"] = granted.token.into();
    body["scope"] = fields.get("scope").unwrap_or("openid email profile").into();
    // Keycloak sends 0 if there is no refresh token.
    let lifetime = granted.refresh_token.map_or(0, |_| REFRESH_TOKEN_LIFETIME);
    body["refresh_expires_in"] = lifetime.into();
    oauth2::success(&body, granted.generation, granted.client)
}

/// Returns the client, from HTTP Basic or from the body. A client must not use both (RFC 6749, section
/// 2.3).
fn client<'a>(headers: &HeaderMap, fields: &'a Fields<'_>) -> Result<Client<'a>, Box<Answer>> {
    let in_body = Client::in_body(fields);
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(in_body);
    };
    let Some((id, secret)) = value.to_str().ok().and_then(basic) else {
        let text = "the authorization header is not HTTP Basic";
        return Err(Answer::oauth2(401, "invalid_client", text).into());
    };
    if in_body.secret.is_some() || in_body.id.is_some_and(|it| it != id) {
        let text = "the client authenticates in two ways";
        return Err(Answer::oauth2(400, "invalid_request", text).into());
    }
    Ok(Client {
        id: Some(id.into()),
        // Public clients send an empty secret.
        secret: (!secret.is_empty()).then_some(Cow::Owned(secret)),
    })
}

/// Reads HTTP Basic: the id and the secret.
fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((decoded(id), decoded(secret)))
}

/// Decodes a half, which is encoded as in an HTML form (RFC 6749, section 2.3.1). Without `%` and `+`, a
/// half that is not encoded stays as it is.
fn decoded(half: &str) -> String {
    // These two would end the name.
    let one_name = half.replace('&', "%26").replace('=', "%3D");
    let name = form_urlencoded::parse(one_name.as_bytes()).next();
    name.map(|(name, _)| name.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_is_read_whether_encoded_or_not() {
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
