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
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use pin_project_lite::pin_project;
use tower_bearer::BoxError;
use tower_service::Service;

use super::{
    error::HttpError,
    proxy::ProxyConnector,
    settings::{HttpVersions, IDLE, Network},
};
use crate::error::SetupError;

/// How long an HTTP/2 connection may be silent before it is sent a ping.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A hyper client for HTTP/1.1 and HTTP/2, with a pool of connections.
///
/// It trusts the platform's certificates and those that were added to the control plane, and never
/// follows a redirect. Clones share the pool.
///
/// Its errors hold no words of the server; see [`HttpError`]. Those of a response's body are hyper's.
pub struct HttpClient<B> {
    client: legacy::Client<HttpsConnector<ProxyConnector>, B>,
}

impl<B> HttpClient<B>
where
    B: Body + Send,
    B::Data: Send,
{
    pub(crate) fn new(network: &Network) -> Result<Self, SetupError> {
        Ok(Self::over(network.connector(HttpVersions::Both)?))
    }

    /// A client for HTTP/1.1 alone.
    pub(crate) fn http1(network: &Network) -> Result<Self, SetupError> {
        Ok(Self::over(network.connector(HttpVersions::Http1Only)?))
    }

    fn over(connector: HttpsConnector<ProxyConnector>) -> Self {
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(KEEP_ALIVE)
            .build(connector);
        Self { client }
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
        let response = self.project().response.poll(cx);
        response.map_err(|error| HttpError::clean(error.into()))
    }
}

impl fmt::Debug for HttpResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponseFuture").finish_non_exhaustive()
    }
}
