//! From a caller's request to the control plane's answer, both streamed.

use std::{error::Error as _, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, Version, header, uri::Authority};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use runai_auth::{
    Auth, AuthOutcome, BoxError, Client, NotRetried,
    tower_bearer::{self, Kind},
};
use tower::{Layer, ServiceExt};
use tracing::{debug, warn};

use super::{
    answer::{Refusal, json_response},
    args::RuleArgs,
    body::{InFlight, Outgoing},
    callers_body::CallersBody,
    connection::Activity,
    counts::Counts,
    drain::Stopping,
    guard::{Admitted, Guard},
    headers::{self, Upstream},
    placeholder,
    reason::Reason,
    upgrade,
};
use crate::failure::Failure;

/// How much of a token request's body is read, so that the connection can be used again.
const TOKEN_BODY: usize = 64 * 1024;

/// What serves requests. One for all connections.
#[derive(Debug)]
pub(crate) struct Proxy {
    client: Client<CallersBody>,
    /// HTTP/2 upgrades in another way, which hyper's client does not do.
    upgrading: Client<CallersBody>,
    upstream: Upstream,
    pub(crate) guard: Guard,
    pub(crate) counts: Arc<Counts>,
    max_requests: usize,
    header_timeout: Duration,
    pub(crate) stopping: Stopping,
}

impl Proxy {
    pub(crate) fn new(
        auth: &Auth,
        guard: Guard,
        rules: &RuleArgs,
        counts: Arc<Counts>,
        stopping: Stopping,
    ) -> Result<Self, Failure> {
        let base = auth.control_plane().base();
        let upstream = Upstream::new(&base).ok_or_else(|| {
            Failure::usage(format!("{base} cannot be forwarded to"), "Check --base-url")
        })?;
        let layer = auth
            .layer()
            .overwrite_authorization()
            .replay_limit(rules.replay_limit);
        Ok(Self {
            client: layer.layer(auth.client()?.into_inner()),
            upgrading: layer.layer(auth.http1_client()?.into_inner()),
            upstream,
            guard,
            counts,
            max_requests: rules.max_requests.max(1),
            header_timeout: rules.header_timeout,
            stopping,
        })
    }

    /// Answers one request. There always is an answer.
    pub(crate) async fn handle(
        self: Arc<Self>,
        activity: Arc<Activity>,
        request: Request<Incoming>,
    ) -> Response<Outgoing> {
        let version = request.version();
        activity.speaks(version);
        let in_flight = InFlight::begin(self.counts.clone(), activity);
        let mut tunnel = None;
        let mut response = match self.answer(request, &mut tunnel).await {
            Ok(response) => response,
            Err(refusal) => {
                debug!(reason = refusal.reason.as_str(), status = %refusal.status, "not forwarded");
                self.counts.refused(refusal.reason);
                refusal.response()
            }
        };
        self.counts.answered(response.status());
        if self.stopping.is_on() && version < Version::HTTP_2 && tunnel.is_none() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        match tunnel {
            Some(tunnel) => {
                tokio::spawn(tunnel.join(in_flight, self.stopping.live()));
                response
            }
            None => response.map(|body| body.holding(in_flight)),
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        tunnel: &mut Option<upgrade::Tunnel>,
    ) -> Result<Response<Outgoing>, Refusal> {
        let (mut head, body) = request.into_parts();
        let body = CallersBody::new(body, &head.headers);
        if self.counts.in_flight() > self.max_requests {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                Reason::Busy,
                "too many requests are in flight",
                "Send fewer at once, or start the proxy with a larger --max-requests",
            )
            .retry_after(Duration::from_secs(1)));
        }
        let admitted = self.guard.admit(&head)?;
        if let Some(form) = admitted.played {
            self.read_away(body).await;
            let body = placeholder::answer(form);
            return Ok(json_response(StatusCode::OK, &body));
        }

        let upgrade = headers::upgrade(head.version, &head.headers);
        let host = head.headers.get(header::HOST).cloned();
        let caller = upgrade.is_some().then(|| upgrade::of(&mut head));
        headers::request(head.version, &mut head.headers);
        let mut there = Request::new(body);
        *there.uri_mut() = self
            .upstream
            .uri(&head.uri, admitted.key_length)
            .map_err(|_| bad_uri())?;
        *there.method_mut() = head.method;
        *there.headers_mut() = head.headers;
        let client = match &upgrade {
            None => &self.client,
            Some(protocol) => {
                let headers = there.headers_mut();
                let connection = HeaderValue::from_static("upgrade");
                headers.insert(header::CONNECTION, connection);
                headers.insert(header::UPGRADE, protocol.clone());
                &self.upgrading
            }
        };

        let response = client.clone().oneshot(there).await.map_err(unsent)?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(rejected(response.extensions().get()));
        }
        let (mut back, body) = response.into_parts();
        let switched = match (back.status, caller) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(caller)) => {
                let protocol = back.headers.get(header::UPGRADE).cloned();
                *tunnel = Some(upgrade::Tunnel::new(caller, &mut back));
                protocol
            }
            _ => None,
        };
        headers::response(&mut back.headers);
        self.relocate(&mut back.headers, &head.uri, host.as_ref(), &admitted);
        let mut response = Response::new(Outgoing::stream(body));
        *response.status_mut() = back.status;
        *response.headers_mut() = back.headers;
        if let Some(protocol) = switched {
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, protocol);
        }
        Ok(response)
    }

    fn relocate(
        &self,
        headers: &mut http::HeaderMap,
        asked: &http::Uri,
        host: Option<&HeaderValue>,
        admitted: &Admitted,
    ) {
        if !headers.contains_key(header::LOCATION)
            && !headers.contains_key(header::CONTENT_LOCATION)
        {
            return;
        }
        let host = host
            .and_then(|host| host.to_str().ok())
            .or(asked.authority().map(Authority::as_str))
            .unwrap_or_default();
        let key = &asked.path()[..admitted.key_length];
        headers::relocate(headers, &self.upstream, host, key);
    }

    /// Reads what comes with a request that is answered here. What is in it is nobody's business.
    async fn read_away(&self, body: CallersBody) {
        let read = Limited::new(body, TOKEN_BODY).collect();
        // Whatever it comes to, the answer is the same.
        let _read = tokio::time::timeout(self.header_timeout, read).await;
    }
}

fn bad_uri() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        Reason::Path,
        "the path cannot stand in a URL",
        "Escape what may not stand in a URL",
    )
}

/// The request was not answered.
fn unsent(error: BoxError) -> Refusal {
    if let Some(error) = error.downcast_ref::<tower_bearer::Error>() {
        return no_token(error);
    }
    let client = error.downcast_ref::<legacy::Error>();
    let of_the_caller = client
        .and_then(|error| error.source()?.downcast_ref::<hyper::Error>())
        .is_some_and(hyper::Error::is_user);
    let refusal = if of_the_caller {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            Reason::Body,
            "the request's body broke off",
            "Send the whole body",
        )
    } else if client.is_some_and(legacy::Error::is_connect) {
        Refusal::new(
            StatusCode::BAD_GATEWAY,
            Reason::Unreachable,
            "there is no connection to the control plane",
            "Run `runai-auth check` to find out where it fails",
        )
    } else {
        Refusal::new(
            StatusCode::BAD_GATEWAY,
            Reason::Upstream,
            "the connection to the control plane broke before it answered",
            "Whether the request was carried out is not known",
        )
    };
    let error = chain(&*error);
    warn!(reason = refusal.reason.as_str(), error, "no answer");
    refusal
}

/// Nothing was sent, since there is no token.
pub(crate) fn no_token(error: &tower_bearer::Error) -> Refusal {
    let failure = Failure::from(error.clone());
    let (text, hint) = (failure.error().to_owned(), failure.hint().to_owned());
    if error.is_transient() {
        let reason = match error.kind() {
            Kind::Limited => Reason::Rejected,
            _ => Reason::Unavailable,
        };
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason, text, hint)
            .retry_after(error.retry_after().unwrap_or_default());
    }
    let reason = match error.is_invalid_credentials() {
        true => Reason::Refused,
        false => Reason::Unavailable,
    };
    Refusal::new(StatusCode::BAD_GATEWAY, reason, text, hint)
}

/// The control plane answered 401, and sending the request again did not heal it or was not possible.
fn rejected(stamped: Option<&AuthOutcome>) -> Refusal {
    let refusal = |status, error, hint| Refusal::new(status, Reason::Rejected, error, hint);
    match stamped.and_then(AuthOutcome::not_retried) {
        Some(NotRetried::NoToken(error)) => no_token(error),
        // Its body is gone. The token is replaced meanwhile, so the caller may send it again.
        Some(NotRetried::NotReplayed(_)) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the token was rejected and is replaced, but the request's body was too large to keep",
            "Send the request again, or start the proxy with a larger --replay-limit",
        )
        .retry_after(Duration::from_secs(1)),
        _ => refusal(
            StatusCode::BAD_GATEWAY,
            "the control plane rejects the tokens that it issued",
            "Check the clocks, and whether the URL is that of the control plane that issues them",
        ),
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
