//! The control interface: the controls of [`RunaiFake`] over HTTP, for tests in other languages.
//!
//! The crate's page lists its calls.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    behaviour::Behaviour,
    endpoint_version::EndpointVersion,
    fake::RunaiFake,
    journal::{Exchange, Kind},
};

/// The largest body of a call.
const BODY_CAP: usize = 1024 * 1024;

/// Listens on a port of 127.0.0.1 for calls of the control interface; 0 takes a free port.
///
/// Returns the address, and a future that serves it. The interface runs until that future is dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use runai_fake::{RunaiFake, control};
///
/// let fake = RunaiFake::builder().start().await?;
/// let (addr, serving) = control::listen(fake.clone(), 0).await?;
/// tokio::spawn(serving);
/// println!("http://{addr}");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Fails if the port cannot be listened on.
pub async fn listen(
    fake: RunaiFake,
    port: u16,
) -> io::Result<(SocketAddr, impl Future<Output = ()> + Send)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let addr = listener.local_addr()?;
    let serving = async move {
        loop {
            // A connection that breaks before it is accepted fails here. Only its client needs to know.
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let fake = fake.clone();
            let service = service_fn(move |request| answer(fake.clone(), request));
            tokio::spawn(async move {
                // The same holds for one that breaks later.
                let _ended = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    };
    Ok((addr, serving))
}

async fn answer(
    fake: RunaiFake,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let result = match Limited::new(body, BODY_CAP).collect().await {
        Ok(body) => call(&fake, &head.method, head.uri.path(), &body.to_bytes()),
        Err(error) => Err((400, error.to_string())),
    };
    let (status, body) = match result {
        Ok(body) => (200, body),
        Err((status, message)) => (status, json!({"error": message})),
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    generation: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    application: String,
    secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessRule {
    application: String,
    granted: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ClockChange {
    AdvanceSeconds(u64),
    OffsetSeconds(i64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lifetime {
    seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeFor {
    user: String,
    client_id: String,
    redirect_uri: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefreshTokenFor {
    user: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefreshToken {
    refresh_token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenEndpoint {
    url: Option<String>,
}

/// A status and a message.
type Failure = (u16, String);

fn call(fake: &RunaiFake, method: &Method, path: &str, body: &[u8]) -> Result<Value, Failure> {
    let done = Ok(json!({"ok": true}));
    if let Some(version) = version_in(path).filter(|_| method == Method::PUT) {
        fake.always_on_version(version, always(body)?);
        return done;
    }
    match (method.as_str(), path) {
        ("POST", "/token/behaviours") => queue(body, |it| fake.on_token(it)),
        ("POST", "/api/behaviours") => queue(body, |it| fake.on_api(it)),
        ("PUT", "/token/always") => {
            fake.always_on_token(always(body)?);
            done
        }
        ("PUT", "/api/always") => {
            fake.always_on_api(always(body)?);
            done
        }
        ("PUT", "/discovered-token-endpoint") => {
            fake.set_discovered_token_endpoint(parse::<TokenEndpoint>(body)?.url);
            done
        }
        ("POST", path) if USER_CALLS.contains(&path) => user_call(fake, path, body),
        ("POST", "/revoke") => {
            match parse::<Revoke>(body)?.generation {
                Some(generation) => fake.revoke(generation),
                None => fake.revoke_all(),
            }
            done
        }
        ("POST", "/rotate-secret") => {
            let Secret {
                application,
                secret,
            } = parse(body)?;
            found(fake.rotate_secret(&application, &secret), &application)
        }
        ("POST", "/access-rule") => {
            let AccessRule {
                application,
                granted,
            } = parse(body)?;
            let is_known = match granted {
                true => fake.restore_access_rule(&application),
                false => fake.drop_access_rule(&application),
            };
            found(is_known, &application)
        }
        ("POST", "/rotate-signing-key") => {
            fake.rotate_signing_key();
            done
        }
        ("POST", "/clock") => {
            match parse(body)? {
                ClockChange::AdvanceSeconds(by) => fake.advance_clock(Duration::from_secs(by)),
                ClockChange::OffsetSeconds(offset) => fake.set_clock_offset(offset),
            }
            done
        }
        ("POST", "/token-lifetime") => {
            fake.set_token_lifetime(Duration::from_secs(parse::<Lifetime>(body)?.seconds));
            done
        }
        ("GET", "/journal") => Ok(fake.journal().iter().map(exchange_json).collect()),
        ("DELETE", "/journal") => {
            fake.clear_journal();
            done
        }
        ("GET", "/issued") => Ok(fake
            .issued()
            .iter()
            .map(|issued| {
                json!({
                    "generation": issued.generation,
                    "client": issued.client,
                    "token": issued.token,
                    "expires_at": issued.expires_at,
                    "revoked": issued.revoked,
                })
            })
            .collect()),
        ("GET", "/status") => Ok(json!({
            "url": fake.url(),
            "token_requests": fake.token_requests(),
            "api_requests": fake.api_requests(),
            "secret_bearing_requests": fake.secret_bearing_requests(),
        })),
        _ => Err((404, format!("there is no call {method} {path}"))),
    }
}

/// Returns the endpoint version of a path such as `/token/v1/always`.
fn version_in(path: &str) -> Option<EndpointVersion> {
    let name = path.strip_prefix("/token/")?.strip_suffix("/always")?;
    EndpointVersion::from_name(name)
}

/// The calls of [`user_call`].
const USER_CALLS: [&str; 4] = [
    "/authorization-code",
    "/refresh-token",
    "/refresh-token/live",
    "/end-sessions",
];

fn user_call(fake: &RunaiFake, path: &str, body: &[u8]) -> Result<Value, Failure> {
    // The library takes any name. Here it must be known, because a misspelt one would be hard to find.
    let known = |user: &str| match fake.state.lock().users.contains(user) {
        true => Ok(()),
        false => Err((404, format!("there is no user `{user}`"))),
    };
    match path {
        "/authorization-code" => {
            let CodeFor {
                user,
                client_id,
                redirect_uri,
            } = parse(body)?;
            known(&user)?;
            let code = fake.authorization_code(&user, &client_id, &redirect_uri);
            Ok(json!({"code": code}))
        }
        "/refresh-token" => {
            let RefreshTokenFor { user } = parse(body)?;
            known(&user)?;
            Ok(json!({"refresh_token": fake.refresh_token_for(&user)}))
        }
        "/refresh-token/live" => {
            let RefreshToken { refresh_token } = parse(body)?;
            Ok(json!({"live": fake.refresh_token_is_live(&refresh_token)}))
        }
        _ => {
            fake.end_sessions();
            Ok(json!({"ok": true}))
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut json);
    let parsed = parsed.map_err(|error| (400, error.to_string()))?;
    json.end().map_err(|error| (400, error.to_string()))?;
    Ok(parsed)
}

fn behaviour(behaviour: Behaviour) -> Result<Behaviour, Failure> {
    match behaviour.problem() {
        Some(problem) => Err((400, problem)),
        None => Ok(behaviour),
    }
}

fn always(body: &[u8]) -> Result<Option<Behaviour>, Failure> {
    parse::<Option<Behaviour>>(body)?.map(behaviour).transpose()
}

fn queue(body: &[u8], plan: impl Fn(Behaviour)) -> Result<Value, Failure> {
    let behaviours: Vec<Behaviour> = parse(body)?;
    // Queue all or none: a test must not run with half of its behaviours.
    let behaviours: Vec<_> = behaviours
        .into_iter()
        .map(behaviour)
        .collect::<Result<_, _>>()?;
    let queued = behaviours.len();
    behaviours.into_iter().for_each(plan);
    Ok(json!({"queued": queued}))
}

fn found(is_known: bool, application: &str) -> Result<Value, Failure> {
    match is_known {
        true => Ok(json!({"ok": true})),
        false => Err((404, format!("there is no application `{application}`"))),
    }
}

/// Returns an entry of the journal as JSON.
fn exchange_json(exchange: &Exchange) -> Value {
    let headers: Vec<_> = exchange
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    let text = std::str::from_utf8(&exchange.body).ok();
    json!({
        "seq": exchange.seq,
        "at_ms": exchange.at.as_millis() as u64,
        "kind": match exchange.kind {
            Kind::Token => "token",
            Kind::Api => "api",
            Kind::Discovery => "discovery",
        },
        "connection": exchange.connection,
        "method": exchange.method,
        "path": exchange.path,
        "query": exchange.query,
        "version": format!("{:?}", exchange.version),
        "headers": headers,
        "body": text,
        "body_base64": text.is_none().then(|| STANDARD.encode(&exchange.body)),
        "body_complete": exchange.body_complete,
        "generation": exchange.generation,
        "client": exchange.client,
        "status": exchange.status,
    })
}
