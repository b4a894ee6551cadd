//! Probes and metrics: `/livez`, `/readyz`, `/metrics`; and `POST /refresh` for the admin.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use runai_auth::{Auth, tower_bearer::Report};
use serde_json::json;
use tokio::net::TcpListener;
use tracing::{debug, info};

use super::{
    guard::Guard,
    listen::after_failed_accept,
    outgoing::ResponseBody,
    reason::Reason,
    refusal::{Refusal, json_response},
    stopping::Stopping,
};
use crate::failure::Failure;

/// How long a request's head may take. Probes are fast.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the answers are made of.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) auth: Auth,
    pub(crate) metrics: Option<PrometheusHandle>,
    pub(crate) stopping: Stopping,
}

/// Serves a listener until the process ends. With a guard it is the admin's and serves `POST /refresh` too. Probes have
/// no guard, because a kubelet calls the pod by any address.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<Admin>, guard: Option<Arc<Guard>>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                after_failed_accept(&error).await;
                continue;
            }
        };
        let (admin, guard) = (admin.clone(), guard.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (admin, guard) = (admin.clone(), guard.clone());
                async move { Ok::<_, Infallible>(admin.answer(request, guard.as_deref()).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                debug!(error = %Report::new(&error), "a connection to the admin address broke");
            }
        });
    }
}

impl Admin {
    async fn answer(
        &self,
        request: Request<Incoming>,
        guard: Option<&Guard>,
    ) -> Response<ResponseBody> {
        let (head, _) = request.into_parts();
        if let Some(Err(refusal)) = guard.map(|guard| guard.check_caller(&head)) {
            return refusal.response();
        }
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        match (head.uri.path(), reads) {
            ("/livez", true) => json_response(StatusCode::OK, &json!({"alive": true})),
            ("/readyz", true) => self.ready(),
            ("/metrics", true) => self.metrics(),
            ("/refresh", _) if guard.is_some() && head.method == Method::POST => {
                self.refresh().await
            }
            ("/livez" | "/readyz" | "/metrics", false) => not_allowed("GET, HEAD"),
            ("/refresh", _) if guard.is_some() => not_allowed("POST"),
            _ => json_response(
                StatusCode::NOT_FOUND,
                &json!({"error": "there is no such path"}),
            ),
        }
    }

    fn ready(&self) -> Response<ResponseBody> {
        if self.stopping.has_begun() {
            return unready("the proxy is stopping", "");
        }
        let status = self.auth.status();
        // The cache still serves a rejected token that it could not replace, in case the rejection was a mistake.
        // Callers get 503 meanwhile.
        let is_rejected = status.rejected && status.last_error.is_some();
        if self.auth.is_ready() && !is_rejected {
            return json_response(StatusCode::OK, &json!({"ready": true}));
        }
        match status.last_error {
            Some(error) => {
                let failure = Failure::from(error);
                unready(failure.error(), failure.hint())
            }
            None => unready("no token yet; one is being fetched", ""),
        }
    }

    fn metrics(&self) -> Response<ResponseBody> {
        let text = self.metrics.as_ref().map(PrometheusHandle::render);
        let text = Bytes::from(text.unwrap_or_default());
        let mut response = Response::new(ResponseBody::whole(text));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }

    async fn refresh(&self) -> Response<ResponseBody> {
        match self.auth.cache().refresh().await {
            Ok(token) => {
                info!(
                    generation = token.generation(),
                    "the token was refreshed on demand"
                );
                let left = self.auth.status().expires_in.map(|left| left.as_secs());
                let body = json!({"refreshed": true, "seconds_left": left});
                json_response(StatusCode::OK, &body)
            }
            Err(error) => Refusal::from(&error).response(),
        }
    }
}

fn unready(reason: &str, hint: &str) -> Response<ResponseBody> {
    let body = json!({"ready": false, "reason": reason, "hint": hint});
    json_response(StatusCode::SERVICE_UNAVAILABLE, &body)
}

fn not_allowed(methods: &'static str) -> Response<ResponseBody> {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Reason::Method,
        "this path does not serve this method",
        "See `runai-auth proxy --help`",
    )
    .allow(methods)
    .response()
}
