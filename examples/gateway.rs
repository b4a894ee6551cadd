//! A service that calls the control plane for its own callers, with its own token.
//!
//! ```text
//! cargo run --example gateway
//! ```
//!
//! `/api/…` is forwarded with the gateway's token, and `/readyz` says whether there is one. What callers
//! send along to authenticate themselves never leaves the gateway, and they never see a 401 that is
//! about its token. Who may call is yours to say: put your own authentication before `forward`.
//!
//! Without `RUNAI_*` variables it plays a story, on a fake control plane on loopback. With them it
//! serves that control plane until Ctrl-C, at 127.0.0.1:8080 or the address that is its argument.
//!
//! The exit status is 0 only if all went as told.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, error::Error, future::pending, process::ExitCode, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use runai_auth::{Auth, AuthOutcome, BoxError, Client, NotRetried, tower_bearer};
use serde_json::json;
use tokio::{net::TcpListener, signal::ctrl_c, time::timeout};
use tower::{Layer, ServiceExt};

#[path = "gateway/story.rs"]
mod story;

#[tokio::main]
async fn main() -> ExitCode {
    let variables = [
        "RUNAI_BASE_URL",
        "RUNAI_CLIENT_ID",
        "RUNAI_CLIENT_SECRET",
        "RUNAI_CLIENT_SECRET_FILE",
    ];
    let ended = if variables
        .iter()
        .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
    {
        serve_a_control_plane().await
    } else {
        timeout(Duration::from_secs(30), story::play())
            .await
            .unwrap_or_else(|_| Err("the story did not end".into()))
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Serves the control plane that the environment names.
async fn serve_a_control_plane() -> Result<(), BoxError> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let gateway = Gateway::new(Auth::from_env()?)?;
    let listener = TcpListener::bind(address).await?;
    println!(
        "{} is served at http://{}",
        gateway.auth.control_plane().base(),
        listener.local_addr()?
    );
    axum::serve(listener, gateway.router())
        .with_graceful_shutdown(async {
            // Without a handler for it, Ctrl-C ends the program anyway.
            if ctrl_c().await.is_err() {
                pending().await
            }
        })
        .await?;
    Ok(())
}

/// The control plane, for callers that have no token.
#[derive(Clone, Debug)]
struct Gateway {
    auth: Auth,
    api: Client<Body>,
}

impl Gateway {
    fn new(auth: Auth) -> Result<Self, BoxError> {
        // A gateway that is not ready gets no requests, so it must get well without any.
        auth.cache().keep_warm();
        // A caller's own `Authorization` is taken off, and is never mistaken for ours.
        let api = auth
            .layer()
            .overwrite_authorization()
            .layer(auth.client()?.into_inner());
        Ok(Self { auth, api })
    }

    fn router(self) -> Router {
        Router::new()
            .route("/readyz", get(ready))
            .route("/api/{*path}", any(forward))
            .with_state(self)
    }

    /// Sends a caller's request to the control plane. Neither body is held as a whole: a retry keeps
    /// its first 64 KiB at most.
    async fn send(&self, request: Request) -> Result<Response, BoxError> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut there = Request::new(body);
        *there.method_mut() = head.method;
        *there.uri_mut() = self.auth.url(path)?;
        *there.headers_mut() = end_to_end(head.headers);
        // They are about the caller and this gateway. `Expect` is answered here, by reading the body.
        for name in [header::HOST, header::COOKIE, header::EXPECT] {
            there.headers_mut().remove(name);
        }

        let response = self.api.clone().oneshot(there).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Ok(rejected(response.extensions().get()));
        }
        let (head, body) = response.into_parts();
        let mut back = Response::new(Body::new(body));
        *back.status_mut() = head.status;
        *back.headers_mut() = end_to_end(head.headers);
        // A session of the gateway's is no caller's.
        back.headers_mut().remove(header::SET_COOKIE);
        Ok(back)
    }
}

async fn forward(State(gateway): State<Gateway>, request: Request) -> Response {
    match gateway.send(request).await {
        Ok(response) => response,
        Err(error) => match error.downcast_ref::<tower_bearer::Error>() {
            Some(error) => no_token(error),
            None => answer(
                StatusCode::BAD_GATEWAY,
                None,
                "the control plane did not answer",
                &chain(&*error),
            ),
        },
    }
}

async fn ready(State(gateway): State<Gateway>) -> Response {
    if gateway.auth.is_ready() {
        return Json(json!({"ready": true})).into_response();
    }
    let status = gateway.auth.status();
    let reason = match &status.last_error {
        Some(error) => chain(error),
        None => "there is no token; one is being asked for".into(),
    };
    let body = Json(json!({"ready": false, "reason": reason}));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

/// Nothing was sent, since there is no token. That is no fault of the caller's, so it is never a 401.
fn no_token(error: &tower_bearer::Error) -> Response {
    let reason = chain(error);
    if error.is_transient() {
        let retry_after = error.retry_after().unwrap_or_default();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return answer(status, Some(retry_after), "there is no token now", &reason);
    }
    let what = match error.is_invalid_credentials() {
        true => "the gateway's credentials were refused",
        false => "the gateway cannot get a token",
    };
    answer(StatusCode::BAD_GATEWAY, None, what, &reason)
}

/// The control plane answered 401, and sending the request again did not heal it or was not possible.
fn rejected(stamped: Option<&AuthOutcome>) -> Response {
    match stamped.and_then(AuthOutcome::not_retried) {
        Some(NotRetried::NoToken(error)) => no_token(error),
        // Its body is gone. The token is replaced meanwhile, so the caller may send it again.
        Some(why @ NotRetried::NotReplayed(_)) => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            Some(Duration::ZERO),
            "the token was rejected and is replaced: send the request again",
            &why.to_string(),
        ),
        Some(why) => answer(
            StatusCode::BAD_GATEWAY,
            None,
            "the control plane rejects the gateway's tokens",
            &why.to_string(),
        ),
        None => answer(
            StatusCode::BAD_GATEWAY,
            None,
            "the control plane answered 401",
            "its challenge does not complain of the token",
        ),
    }
}

fn answer(status: StatusCode, retry: Option<Duration>, error: &str, reason: &str) -> Response {
    let mut response = (status, Json(json!({"error": error, "reason": reason}))).into_response();
    if let Some(retry) = retry {
        // Rounded up, since a second too early is refused again.
        let seconds = retry.as_millis().div_ceil(1000).max(1);
        if let Ok(value) = seconds.to_string().parse() {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
    }
    response
}

/// The headers that are meant for the other end, and not for the next connection only (RFC 9110, 7.6.1).
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let always = [
        header::CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    for name in named.into_iter().chain(always) {
        headers.remove(name);
    }
    headers
}

/// An error with all that caused it, on one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
