//! Forwards a caller's request, and returns the control plane's answer. Both bodies are streamed.

use std::{error::Error as _, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, Version, header, request, uri::Authority};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use runai_auth::{Auth, AuthOutcome, BoxError, Client, HttpError, NotRetried, tower_bearer};
use tokio::sync::Semaphore;
use tower::{Layer, ServiceExt};
use tracing::{debug, warn};

use super::{
    activity::Activity,
    guard::{Admitted, Guard},
    headers::{self, Upstream},
    in_flight::InFlight,
    incoming::RequestBody,
    metrics::Metrics,
    outgoing::ResponseBody,
    placeholder,
    reason::Reason,
    refusal::{Refusal, json_response},
    stopping::Stopping,
    upgrade::{self, Tunnel},
};
use crate::{
    failure::{Failure, client_error},
    flags::RuleArgs,
};

/// How much of a token request's body is drained, so that its connection stays usable.
const TOKEN_BODY_LIMIT: usize = 64 * 1024;

/// Serves requests. All connections share one.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) auth: Auth,
    client: Client<RequestBody>,
    /// Speaks HTTP/1.1 only: HTTP/2 upgrades in another way, which hyper's client cannot do.
    upgrading: Client<RequestBody>,
    upstream: Upstream,
    guard: Guard,
    pub(crate) metrics: Arc<Metrics>,
    /// One place for each request that may be in flight.
    places: Arc<Semaphore>,
    header_timeout: Duration,
    pub(crate) stopping: Stopping,
}

impl Proxy {
    pub(crate) fn new(
        auth: &Auth,
        guard: Guard,
        rules: &RuleArgs,
        metrics: Arc<Metrics>,
        stopping: Stopping,
    ) -> Result<Self, Failure> {
        let base = auth.control_plane().base();
        let upstream = Upstream::new(&base).ok_or_else(|| {
            Failure::usage(format!("cannot forward to {base}"), "Check --base-url")
        })?;
        let layer = auth
            .layer()
            .overwrite_authorization()
            .replay_limit(rules.replay_limit);
        Ok(Self {
            auth: auth.clone(),
            client: layer.layer(auth.client()?.into_inner()),
            upgrading: layer.layer(auth.http1_client()?.into_inner()),
            upstream,
            guard,
            metrics,
            places: Arc::new(Semaphore::new(
                rules.max_requests.clamp(1, Semaphore::MAX_PERMITS),
            )),
            header_timeout: rules.header_timeout,
            stopping,
        })
    }

    /// Answers one request. It never fails: an error is an answer too.
    pub(crate) async fn handle(
        self: Arc<Self>,
        activity: Arc<Activity>,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let (head, body) = request.into_parts();
        // A refusal drops the body, which then drains.
        let body = RequestBody::new(body, &head.headers);
        let version = head.version;
        activity.speaks(version);
        let place = self.places.clone().try_acquire_owned().ok();
        let is_busy = place.is_none();
        let in_flight = InFlight::begin(place, self.metrics.clone(), activity);
        let mut tunnel = None;
        let answer = match is_busy {
            true => Err(busy()),
            false => self.answer(head, body, &mut tunnel).await,
        };
        let mut response = match answer {
            Ok(response) => response,
            Err(refusal) => {
                debug!(reason = refusal.reason.as_str(), status = %refusal.status, "not forwarded");
                self.metrics.refused(refusal.reason);
                refusal.response()
            }
        };
        self.metrics.answered(response.status());
        if self.stopping.has_begun() && version < Version::HTTP_2 && tunnel.is_none() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        match tunnel {
            Some(tunnel) => {
                self.stopping.spawn(tunnel.join(in_flight));
                response
            }
            None => response.map(|body| body.holding(in_flight)),
        }
    }

    async fn answer(
        &self,
        mut head: request::Parts,
        body: RequestBody,
        tunnel: &mut Option<Tunnel>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let admitted = self.guard.admit(&head)?;
        if let Some(version) = admitted.placeholder {
            self.drain(body).await;
            let body = placeholder::answer(version);
            return Ok(json_response(StatusCode::OK, &body));
        }

        let upgrade = headers::upgrade(head.version, &head.headers);
        let host = head.headers.get(header::HOST).cloned();
        let caller = upgrade.is_some().then(|| upgrade::of(&mut head));
        headers::request(head.version, &mut head.headers);
        let mut forwarded = Request::new(body);
        *forwarded.uri_mut() = self
            .upstream
            .uri(&head.uri, admitted.key_length)
            .map_err(|_| bad_uri())?;
        *forwarded.method_mut() = head.method;
        *forwarded.headers_mut() = head.headers;
        let client = match &upgrade {
            None => &self.client,
            Some(protocol) => {
                let headers = forwarded.headers_mut();
                let connection = HeaderValue::from_static("upgrade");
                headers.insert(header::CONNECTION, connection);
                headers.insert(header::UPGRADE, protocol.clone());
                &self.upgrading
            }
        };

        let response = client
            .clone()
            .oneshot(forwarded)
            .await
            .map_err(|error| unanswered(&self.auth, error))?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(rejected(response.extensions().get()));
        }
        let (mut back, body) = response.into_parts();
        let switched = match (back.status, caller) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(caller)) => {
                let protocol = back.headers.get(header::UPGRADE).cloned();
                *tunnel = Some(Tunnel::new(caller, &mut back));
                protocol
            }
            _ => None,
        };
        headers::response(&mut back.headers);
        self.relocate(&mut back.headers, &head.uri, host.as_ref(), &admitted);
        let mut response = Response::new(ResponseBody::stream(body));
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
        requested: &http::Uri,
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
            .or(requested.authority().map(Authority::as_str))
            .unwrap_or_default();
        let key = &requested.path()[..admitted.key_length];
        headers::relocate(headers, &self.upstream, host, key);
    }

    /// Reads the body of a request that the proxy answers itself. Its content is ignored.
    async fn drain(&self, body: RequestBody) {
        let read = Limited::new(body, TOKEN_BODY_LIMIT).collect();
        // The answer is the same if this fails.
        let _drained = tokio::time::timeout(self.header_timeout, read).await;
    }
}

fn busy() -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Reason::Busy,
        "too many requests are in flight",
        "Send fewer at once, or start the proxy with a larger --max-requests",
    )
    .retry_after(Duration::from_secs(1))
}

fn bad_uri() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        Reason::Path,
        "the path is not valid in a URL",
        "Escape the characters that a URL may not contain",
    )
}

/// The request was sent, or not, and no answer came.
fn unanswered(auth: &Auth, error: BoxError) -> Refusal {
    if let Some(error) = error.downcast_ref::<tower_bearer::Error>() {
        return Refusal::from(error);
    }
    let client = error.downcast_ref::<legacy::Error>();
    let is_connect = client.is_some_and(legacy::Error::is_connect)
        || error.downcast_ref().is_some_and(HttpError::is_connect);
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
    } else if is_connect {
        Refusal::new(
            StatusCode::BAD_GATEWAY,
            Reason::Unreachable,
            "no connection to the control plane can be made",
            "Run `runai-auth check` to find out where it fails",
        )
    } else {
        Refusal::new(
            StatusCode::BAD_GATEWAY,
            Reason::Upstream,
            "the connection to the control plane broke before it answered",
            "The request may have been carried out: check before you send it again",
        )
    };
    warn!(
        reason = refusal.reason.as_str(),
        error = client_error(auth, &*error),
        "the control plane did not answer"
    );
    refusal
}

/// The control plane answered 401, and a retry with a new token did not help or was not possible.
fn rejected(outcome: Option<&AuthOutcome>) -> Refusal {
    let refusal = |status, error, hint| Refusal::new(status, Reason::Rejected, error, hint);
    match outcome.and_then(AuthOutcome::not_retried) {
        Some(NotRetried::NoToken(error)) => Refusal::from(error),
        // The token was replaced, so the caller may send the request again.
        Some(NotRetried::NotReplayed(_)) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the token was rejected and replaced, but the request's body was too large to keep for a retry",
            "Send the request again, or start the proxy with a larger --replay-limit",
        )
        .retry_after(Duration::from_secs(1)),
        _ => refusal(
            StatusCode::BAD_GATEWAY,
            "the control plane rejects the tokens that it issued",
            "Check the clocks, and that the URL is that of the control plane that issues the tokens",
        ),
    }
}
