//! How a connection is made: straight, or through a forward proxy.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::{
    client::{
        legacy::connect::{HttpConnector, proxy::Tunnel},
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tower_bearer::{BoxError, auth::Origin};
use tower_service::Service;

/// Which destinations go through a proxy.
#[derive(Clone)]
pub(crate) enum ProxyRule {
    /// As the environment says at the time when the client is made.
    Environment,
    /// All but this machine.
    All(Uri),
    None,
}

impl ProxyRule {
    fn matcher(&self) -> Option<Matcher> {
        match self {
            Self::Environment => Some(Matcher::from_env()),
            Self::All(uri) => Some(Matcher::builder().all(uri.to_string()).build()),
            Self::None => None,
        }
    }
}

impl fmt::Debug for ProxyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "Environment",
            // Its URL may hold a password.
            Self::All(_) => "All",
            Self::None => "None",
        })
    }
}

/// Connects over TCP, through the proxy where one is for the destination.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector,
    matcher: Option<Arc<Matcher>>,
}

impl Connector {
    pub(crate) fn new(tcp: HttpConnector, rule: &ProxyRule) -> Self {
        Self {
            tcp,
            matcher: rule.matcher().map(Arc::new),
        }
    }

    /// The proxy for a destination. This machine is reached straight, whatever the variables say.
    fn proxy(&self, destination: &Uri) -> Option<Intercept> {
        let plain = format!("http://{}", destination.authority()?.as_str());
        let is_here = Origin::parse(&plain).is_ok_and(|origin| origin.is_safe());
        match is_here {
            true => None,
            false => self.matcher.as_ref()?.intercept(destination),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let Some(proxy) = self.proxy(&destination) else {
            let connecting = self.tcp.call(destination);
            return Box::pin(async move { Ok(connecting.await?) });
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.tcp.clone());
        if let Some(credentials) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(credentials.clone());
        }
        Box::pin(async move {
            let named = proxy.uri().authority().map(|it| {
                // A user name and a password stay out of the text.
                let text = it.as_str();
                text.rsplit_once('@')
                    .map_or(text, |(_, host)| host)
                    .to_owned()
            });
            if proxy.uri().scheme_str() != Some("http") {
                let named = named.unwrap_or_default();
                return Err(format!(
                    "the proxy {named} is not one for HTTP, which is all that is known here"
                )
                .into());
            }
            let destination = with_port(destination)?;
            tunnel.call(destination).await.map_err(|source| {
                let error: BoxError = Box::new(ProxyError {
                    proxy: named.unwrap_or_default(),
                    source: source.into(),
                });
                error
            })
        })
    }
}

/// The tunnel takes a URL without a port for one with TLS.
fn with_port(uri: Uri) -> Result<Uri, BoxError> {
    match (uri.port(), uri.scheme_str(), uri.host()) {
        (None, Some("http"), Some(host)) => Ok(format!("http://{host}:80/").parse()?),
        _ => Ok(uri),
    }
}

/// The proxy did not let the connection through.
#[derive(Debug)]
pub(crate) struct ProxyError {
    pub(crate) proxy: String,
    source: BoxError,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {} did not connect", self.proxy)
    }
}

impl std::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}
