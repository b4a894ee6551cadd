//! The default HTTP client: hyper, over rustls with the platform's verifier.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use pin_project_lite::pin_project;
use tower_bearer::BoxError;
use tower_service::Service;

use crate::{
    control_plane::ControlPlane,
    error::Error,
    proxy::{Connector, ProxyRule},
    tls::Tls,
};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(90);

/// After so long without a word from the other side an HTTP/2 connection is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How the network is reached.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) tls: Tls,
    pub(crate) connect_timeout: Duration,
    pub(crate) proxy: ProxyRule,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            tls: Tls::default(),
            connect_timeout: ControlPlane::DEFAULT_CONNECT_TIMEOUT,
            proxy: ProxyRule::Environment,
        }
    }
}

/// A hyper client for HTTP/1.1 and HTTP/2, with a pool of connections.
///
/// It trusts the platform's certificates and those that the control plane was given, and never follows
/// a redirect. Clones share the pool.
pub struct HttpClient<B> {
    client: legacy::Client<HttpsConnector<Connector>, B>,
}

impl<B> HttpClient<B>
where
    B: Body + Send,
    B::Data: Send,
{
    pub(crate) fn new(control_plane: &ControlPlane) -> Result<Self, Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(control_plane.network.connect_timeout));
        tcp.set_keepalive(Some(IDLE));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(control_plane.network.tls.config(control_plane.is_https())?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(Connector::new(tcp, &control_plane.network.proxy));
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(KEEP_ALIVE)
            .build(connector);
        Ok(Self { client })
    }
}

impl<B> Service<Request<B>> for HttpClient<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = HttpResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // The pool has room for any number of requests.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> HttpResponseFuture {
        HttpResponseFuture {
            response: self.client.request(request),
        }
    }
}

impl<B> Clone for HttpClient<B> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
        }
    }
}

impl<B> fmt::Debug for HttpClient<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

pin_project! {
    /// The response of [`HttpClient`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the request.
    pub struct HttpResponseFuture {
        #[pin]
        response: legacy::ResponseFuture,
    }
}

impl Future for HttpResponseFuture {
    type Output = Result<Response<Incoming>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().response.poll(cx).map_err(Into::into)
    }
}

impl fmt::Debug for HttpResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponseFuture").finish_non_exhaustive()
    }
}
