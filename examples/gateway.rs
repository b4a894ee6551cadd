//! Shows a service that calls the control plane for its callers, with its own token.
//!
//! ```text
//! cargo run --example gateway
//! ```
//!
//! It forwards `/api/…` with its token, and `/readyz` tells whether it has one. The callers' own credentials
//! never leave the gateway, and callers never see a 401 about the gateway's token. Any caller is served: put
//! your own authentication before `forward`.
//!
//! Without `RUNAI_*` variables it plays a story on a fake control plane on loopback. With them it serves that
//! control plane until Ctrl-C, at 127.0.0.1:8080 or at the address in its argument.
//!
//! The exit status is 0 only if everything went as expected.

#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{env, future::pending, process::ExitCode, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use runai_auth::{
    Auth, AuthOutcome, BoxError, Client, NotRetried, tower_bearer, tower_bearer::Report,
};
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
            println!("failed: {}", Report::new(&*error));
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
        "serves {} at http://{}",
        gateway.auth.control_plane().base(),
        listener.local_addr()?
    );
    axum::serve(listener, gateway.router())
        .with_graceful_shutdown(async {
            // If there can be no handler, Ctrl-C ends the program anyway.
            if ctrl_c().await.is_err() {
                pending().await
            }
        })
        .await?;
    Ok(())
}

/// Forwards requests of callers that have no token.
#[derive(Clone, Debug)]
struct Gateway {
    auth: Auth,
    api: Client<Body>,
}

impl Gateway {
    fn new(auth: Auth) -> Result<Self, BoxError> {
        // An unready gateway gets no requests, so it must recover without any.
        auth.cache().keep_warm();
        // Replace a caller's `Authorization`, instead of sending it.
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

    /// Sends a caller's request to the control plane. Both bodies are streamed; for a retry, the layer keeps at
    /// most the first 64 KiB.
    async fn send(&self, request: Request) -> Result<Response, BoxError> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut there = Request::new(body);
        *there.method_mut() = head.method;
        *there.uri_mut() = self.auth.url(path)?;
        *there.headers_mut() = end_to_end(head.headers);
        // These concern the caller and this gateway. Reading the body answers `Expect`.
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
        // A cookie here would belong to the gateway's session, not to the caller's.
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
                &Report::new(&*error).to_string(),
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
        Some(error) => format!("{error:#}"),
        None => "no token yet; a fetch is in progress".into(),
    };
    let body = Json(json!({"ready": false, "reason": reason}));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

/// Answers a request that was not sent because there is no token. That is not the caller's fault, so it is
/// never a 401.
fn no_token(error: &tower_bearer::Error) -> Response {
    let reason = format!("{error:#}");
    if error.is_transient() {
        let retry_after = error.retry_after().unwrap_or_default();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return answer(status, Some(retry_after), "no token at the moment", &reason);
    }
    let what = match error.is_invalid_credentials() {
        true => "the gateway's credentials are invalid",
        false => "the gateway cannot get a token",
    };
    answer(StatusCode::BAD_GATEWAY, None, what, &reason)
}

/// Answers a request that got 401, when a retry did not help or was not possible.
fn rejected(outcome: Option<&AuthOutcome>) -> Response {
    match outcome.and_then(AuthOutcome::not_retried) {
        Some(NotRetried::NoToken(error)) => no_token(error),
        // The body is gone, but the token is being replaced, so the caller can send the request again.
        Some(why @ NotRetried::NotReplayed(_)) => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            Some(Duration::ZERO),
            "the token was rejected and is being replaced: send the request again",
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
            "its challenge is not about the token",
        ),
    }
}

fn answer(status: StatusCode, retry: Option<Duration>, error: &str, reason: &str) -> Response {
    let mut response = (status, Json(json!({"error": error, "reason": reason}))).into_response();
    if let Some(retry) = retry {
        // Round up: a caller that comes a second too early gets the same answer.
        let seconds = retry.as_millis().div_ceil(1000).max(1);
        if let Ok(value) = seconds.to_string().parse() {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
    }
    response
}

/// Removes the headers that concern one connection only (RFC 9110, section 7.6.1).
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
