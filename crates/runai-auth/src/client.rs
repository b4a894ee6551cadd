//! The default HTTP client: hyper, over rustls with the platform's verifier.

use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use pin_project_lite::pin_project;
use tokio::net::TcpStream;
use tower::ServiceExt;
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
        Ok(Self::over(connector(control_plane, true)?))
    }

    /// HTTP/1.1 alone.
    pub(crate) fn http1(control_plane: &ControlPlane) -> Result<Self, Error> {
        Ok(Self::over(connector(control_plane, false)?))
    }

    fn over(connector: HttpsConnector<Connector>) -> Self {
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(KEEP_ALIVE)
            .build(connector);
        Self { client }
    }
}

/// Connects over TCP and TLS, through a forward proxy where one is for the destination.
fn connector(
    control_plane: &ControlPlane,
    http2: bool,
) -> Result<HttpsConnector<Connector>, Error> {
    let network = &control_plane.network;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(network.connect_timeout));
    tcp.set_keepalive(Some(IDLE));
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(network.tls.config(control_plane.is_https())?)
        .https_or_http();
    let connector = Connector::new(tcp, &network.proxy);
    Ok(match http2 {
        true => builder.enable_all_versions().wrap_connector(connector),
        false => builder.enable_http1().wrap_connector(connector),
    })
}

/// What a connection to a control plane came to: for people who look for what is wrong.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Connection {
    /// The address at the other end: the control plane's, or a forward proxy's.
    pub peer: Option<SocketAddr>,
    /// The certificate that was shown and found good, in DER; none without TLS.
    pub certificate: Option<Vec<u8>>,
}

/// Connects once.
pub(crate) async fn connect(control_plane: &ControlPlane) -> Result<Connection, BoxError> {
    let uri = control_plane.url("/")?;
    let stream = connector(control_plane, true)?.oneshot(uri).await?;
    let peer = |stream: &TcpStream| stream.peer_addr().ok();
    Ok(match &stream {
        MaybeHttpsStream::Http(stream) => Connection {
            peer: peer(stream.inner()),
            certificate: None,
        },
        MaybeHttpsStream::Https(stream) => {
            let (tcp, tls) = stream.inner().get_ref();
            let chain = tls.peer_certificates().unwrap_or_default();
            Connection {
                peer: peer(tcp.inner().inner()),
                certificate: chain.first().map(|it| it.as_ref().to_vec()),
            }
        }
    })
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
