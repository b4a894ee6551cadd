//! The default HTTP client: hyper, over rustls with the platform's verifier.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
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
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use rustls_platform_verifier::Verifier;
use tower_bearer::BoxError;
use tower_service::Service;

use crate::{
    control_plane::ControlPlane,
    error::{Error, Kind},
    proxy::{Connector, ProxyRule},
};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(90);

/// After so long without a word from the other side an HTTP/2 connection is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How the network is reached.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) extra_roots: Vec<CertificateDer<'static>>,
    pub(crate) connect_timeout: Duration,
    pub(crate) identity: Option<Identity>,
    pub(crate) proxy: ProxyRule,
}

/// A client certificate with its chain, and its key.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: Arc<PrivateKeyDer<'static>>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            extra_roots: Vec::new(),
            connect_timeout: ControlPlane::DEFAULT_CONNECT_TIMEOUT,
            identity: None,
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
            .with_tls_config(tls(control_plane)?)
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

/// The provider is named, since the process's default is not ours to choose or to rely on.
fn tls(control_plane: &ControlPlane) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let failed =
        |error: rustls::Error| Error::new(Kind::Tls, "TLS cannot be set up").with_source(error);
    let roots = control_plane.network.extra_roots.iter().cloned();
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let config = match Verifier::new_with_extra_roots(roots, provider) {
        Ok(verifier) => config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier)),
        // A machine without any certificate can still talk to itself without TLS.
        Err(_) if !control_plane.is_https() => {
            config.with_root_certificates(RootCertStore::empty())
        }
        Err(error) => return Err(failed(error)),
    };
    match &control_plane.network.identity {
        None => Ok(config.with_no_client_auth()),
        Some(identity) => config
            .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
            .map_err(failed),
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
