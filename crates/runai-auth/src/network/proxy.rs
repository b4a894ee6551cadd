//! Connections, directly or through a forward proxy.

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

use super::resolver::Resolver;

/// Says which destinations are reached through a proxy.
#[derive(Clone)]
pub(crate) enum ProxyRule {
    /// Those that the environment names when the client is made.
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

/// Connects over TCP, through a proxy if the rule names one for the destination.
#[derive(Clone)]
pub(crate) struct ProxyConnector {
    tcp: HttpConnector<Resolver>,
    matcher: Option<Arc<Matcher>>,
}

impl ProxyConnector {
    pub(crate) fn new(tcp: HttpConnector<Resolver>, rule: &ProxyRule) -> Self {
        Self {
            tcp,
            matcher: rule.matcher().map(Arc::new),
        }
    }

    /// Returns the proxy for a destination. This machine is always reached directly, whatever the
    /// variables say.
    fn proxy(&self, destination: &Uri) -> Option<Intercept> {
        let plain = format!("http://{}", destination.authority()?.as_str());
        let is_here = Origin::parse(&plain).is_ok_and(|origin| origin.is_safe());
        match is_here {
            true => None,
            false => self.matcher.as_ref()?.intercept(destination),
        }
    }
}

impl Service<Uri> for ProxyConnector {
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
            let failed = |why| ProxyError {
                proxy: host_and_port(proxy.uri()),
                why,
            };
            if proxy.uri().scheme_str() != Some("http") {
                return Err(failed(Why::NotHttp).into());
            }
            let destination = with_port(destination)?;
            tunnel
                .call(destination)
                .await
                .map_err(|source| failed(Why::NotConnected(source.into())).into())
        })
    }
}

/// A proxy's address. Its URL may hold a user name and a password.
fn host_and_port(proxy: &Uri) -> String {
    let text = proxy.authority().map_or("", |it| it.as_str());
    let (_, address) = text.rsplit_once('@').unwrap_or(("", text));
    address.to_owned()
}

/// Adds the port of plain HTTP: without one, the tunnel would take the port of TLS.
fn with_port(uri: Uri) -> Result<Uri, BoxError> {
    match (uri.port(), uri.scheme_str(), uri.host()) {
        (None, Some("http"), Some(host)) => Ok(format!("http://{host}:80/").parse()?),
        _ => Ok(uri),
    }
}

/// A forward proxy that cannot be used, or did not connect.
#[derive(Debug)]
pub(crate) struct ProxyError {
    proxy: String,
    why: Why,
}

#[derive(Debug)]
enum Why {
    /// Its URL has another scheme than `http`.
    NotHttp,
    NotConnected(BoxError),
}

impl ProxyError {
    /// The proxy's host and port.
    pub(crate) fn proxy(&self) -> &str {
        &self.proxy
    }

    /// Whether it is an HTTP proxy, which was asked to connect.
    pub(crate) fn is_http(&self) -> bool {
        matches!(self.why, Why::NotConnected(_))
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = &self.proxy;
        match self.why {
            Why::NotHttp => write!(f, "the proxy {proxy} is not an HTTP proxy"),
            Why::NotConnected(_) => write!(f, "the proxy {proxy} did not connect"),
        }
    }
}

impl std::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.why {
            Why::NotHttp => None,
            Why::NotConnected(source) => Some(&**source),
        }
    }
}
