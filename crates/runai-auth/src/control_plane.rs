//! A control plane: its URL, and the settings to reach it.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body::Body;
use http_body_util::Full;
use tower_bearer::{
    BoxError, SourceError,
    auth::Origin,
    oauth2::{BrokenExchange, Transport, TransportError},
};
use tower_service::Service;

use crate::{
    error::{SetupError, SetupErrorKind},
    exchange::{TokenEndpoint, explained, unusable},
    network::{self, Connection, Network, ProxyRule},
};

/// The part of the `User-Agent` that names this crate.
const USER_AGENT: &str = concat!("runai-auth/", env!("CARGO_PKG_VERSION"));

/// The longest URL that is accepted, in bytes.
const MAX_URL: usize = 2000;

/// A Run:ai control plane, and how to reach it.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    origin: Origin,
    /// The path before `/api`, if a proxy serves the control plane below one.
    prefix: String,
    realm: Option<String>,
    pub(crate) token_endpoint: TokenEndpoint,
    pub(crate) network: Network,
    pub(crate) user_agent: HeaderValue,
    pub(crate) transport: Option<Transport>,
}

impl ControlPlane {
    /// How long connecting may take: 10 s, as long as one attempt to get a token may take as a whole.
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Network::DEFAULT_CONNECT_TIMEOUT;

    /// Takes the control plane's URL: `https://acme.run.ai`, or `acme.run.ai` for short. Slashes at the
    /// end are dropped, and so is a final `/api`, `/api/v1` or `/api/v1/token`.
    ///
    /// # Errors
    ///
    /// If the URL is invalid, has a user name, a password, a query or a fragment, or leads over a
    /// network without TLS.
    pub fn new(url: &str) -> Result<Self, SetupError> {
        let this = Self::new_insecure(url)?;
        if !this.origin.is_safe() {
            let message = format!("the secret would go to {} without TLS", this.origin);
            return Err(SetupError::new(SetupErrorKind::InsecureUrl, message)
                .with_advice("use https, or ControlPlane::new_insecure"));
        }
        Ok(this)
    }

    /// Takes the control plane's URL and allows it to be without TLS. Anyone on the network path can then
    /// read the secret and the token.
    ///
    /// # Errors
    ///
    /// If the URL is invalid, or has a user name, a password, a query or a fragment.
    pub fn new_insecure(url: &str) -> Result<Self, SetupError> {
        let text = url.trim();
        let full = match text.contains("://") {
            true => text.to_owned(),
            false => format!("https://{text}"),
        };
        let invalid = |why: &dyn std::fmt::Display| {
            SetupError::new(
                SetupErrorKind::Url,
                format!("invalid control plane URL: {why}"),
            )
        };
        if !text.contains("://") && text.contains(":/") {
            return Err(invalid(&"its scheme must end in two slashes"));
        }
        if full.contains(['?', '#']) {
            return Err(invalid(
                &"it has a query or a fragment, which must be removed",
            ));
        }
        let origin = Origin::parse(&full).map_err(|error| invalid(&error))?;
        // Errors and logs show the URL, which may come from a file of another program.
        if full.len() > MAX_URL || !full.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid(
                &"it is too long, or has characters that must be percent-encoded",
            ));
        }
        let uri: Uri = full.parse().map_err(|error| invalid(&error))?;
        if !matches!(uri.scheme_str(), Some("https" | "http")) {
            return Err(invalid(&"its scheme must be https or http"));
        }
        let path = uri.path().trim_end_matches('/');
        let path = ["/api/v1/token", "/api/v1", "/api"]
            .iter()
            .find_map(|end| path.strip_suffix(end))
            .unwrap_or(path)
            .trim_end_matches('/');
        let needs_tls = uri.scheme_str() == Some("https");
        Ok(Self {
            origin,
            prefix: path.to_owned(),
            realm: None,
            token_endpoint: TokenEndpoint::Auto,
            network: Network::new(needs_tls),
            user_agent: HeaderValue::from_static(USER_AGENT),
            transport: None,
        })
    }

    /// Sets which version of the token endpoint to use.
    ///
    /// Defaults to [`TokenEndpoint::Auto`], which detects it.
    #[must_use]
    pub fn token_endpoint(mut self, endpoint: TokenEndpoint) -> Self {
        self.token_endpoint = endpoint;
        self
    }

    /// Sets the Keycloak realm that holds the users. It matters only where Keycloak's own endpoints are
    /// used.
    ///
    /// Defaults to the tenant's name for `<tenant>.run.ai`, and to `runai` elsewhere.
    ///
    /// # Errors
    ///
    /// If the name is not allowed in a path.
    pub fn realm(mut self, name: impl Into<String>) -> Result<Self, SetupError> {
        let name = name.into();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
            let error = SetupError::new(SetupErrorKind::Url, "invalid realm name");
            return Err(error.with_advice("use letters, digits, `-`, `_`, `.` and `~` only"));
        }
        self.realm = Some(name);
        Ok(self)
    }

    pub(crate) fn realm_name(&self) -> String {
        let tenant = || {
            let origin = self.origin.to_string();
            let host = origin.strip_prefix("https://")?.to_owned();
            host.strip_suffix(".run.ai").map(str::to_owned)
        };
        let name = self.realm.clone().or_else(tenant);
        name.unwrap_or_else(|| "runai".into())
    }

    /// Also trusts the certificates in a PEM text, such as a private CA's.
    ///
    /// Defaults to the system's certificates, or, if `SSL_CERT_FILE` names a file or `SSL_CERT_DIR` names
    /// directories, to those in them instead.
    ///
    /// # Errors
    ///
    /// If the text holds no certificate.
    pub fn root_certificates_pem(mut self, pem: &[u8]) -> Result<Self, SetupError> {
        self.network.tls.trust_pem(pem)?;
        Ok(self)
    }

    /// Also trusts the certificates in a PEM file. New connections follow a file that changes; while it is
    /// missing or broken, the last good certificates stay in use.
    ///
    /// Defaults to none.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or holds no certificate.
    pub fn root_certificates_file(mut self, path: impl Into<PathBuf>) -> Result<Self, SetupError> {
        self.network.tls.trust_file(path.into())?;
        Ok(self)
    }

    /// Sets a client certificate, for control planes that ask for one: a PEM text with the certificate and
    /// its intermediates, and a PEM text with its private key.
    ///
    /// Defaults to none.
    ///
    /// # Errors
    ///
    /// If one of the texts cannot be used, or the key does not belong to the certificate.
    pub fn client_certificate_pem(mut self, chain: &[u8], key: &[u8]) -> Result<Self, SetupError> {
        self.network.tls.show_pem(chain, key)?;
        Ok(self)
    }

    /// Sets a client certificate from files. New connections follow files that change; while the two do
    /// not belong together, the last good pair stays in use.
    ///
    /// Defaults to none.
    ///
    /// # Errors
    ///
    /// If one of the files cannot be used, or the key does not belong to the certificate.
    pub fn client_certificate_files(
        mut self,
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, SetupError> {
        self.network.tls.show_files(chain.into(), key.into())?;
        Ok(self)
    }

    /// Accepts any certificate. Anyone on the network path can then read the secret and the token, so use
    /// this only to try something on your own network; each client that is made logs a warning. For a
    /// private CA use [`root_certificates_file`](Self::root_certificates_file).
    #[must_use]
    pub fn danger_accept_invalid_certificates(mut self) -> Self {
        self.network.tls.accept_any();
        self
    }

    /// Reaches the control plane through a forward proxy (`CONNECT`): `http://proxy.example:3128`, with
    /// `user:password@` before the host if the proxy asks for that.
    ///
    /// Defaults to what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say, in either case.
    /// This machine is always reached directly.
    ///
    /// # Errors
    ///
    /// If it is not the URL of an HTTP proxy.
    pub fn proxy(mut self, url: &str) -> Result<Self, SetupError> {
        let invalid = || {
            SetupError::new(SetupErrorKind::Url, "invalid proxy URL")
                .with_advice("write it like http://proxy.example:3128")
        };
        let uri: Uri = url
            .parse()
            .map_err(|error: http::uri::InvalidUri| invalid().with_source(error))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
            return Err(invalid());
        }
        self.network.proxy = ProxyRule::All(uri);
        Ok(self)
    }

    /// Reaches the control plane directly, whatever the environment says about proxies.
    #[must_use]
    pub fn no_proxy(mut self) -> Self {
        self.network.proxy = ProxyRule::None;
        self
    }

    /// Adds your program to the `User-Agent` of token requests: `my-app/1.0` makes it
    /// `my-app/1.0 runai-auth/0.1.0`.
    ///
    /// Defaults to this crate's name alone.
    ///
    /// # Errors
    ///
    /// If the text is not allowed in a header.
    pub fn user_agent(mut self, product: &str) -> Result<Self, SetupError> {
        self.user_agent =
            HeaderValue::try_from(format!("{product} {USER_AGENT}")).map_err(|error| {
                SetupError::new(
                    SetupErrorKind::UserAgent,
                    "the user agent is not allowed in a header",
                )
                .with_source(error)
            })?;
        Ok(self)
    }

    /// Sets how long the default client may take to connect.
    ///
    /// Defaults to [`DEFAULT_CONNECT_TIMEOUT`](Self::DEFAULT_CONNECT_TIMEOUT).
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.network.connect_timeout = timeout;
        self
    }

    /// Sends token requests through your own HTTP client. It must not follow redirects, which would pass
    /// the secret on.
    ///
    /// Defaults to the client that [`Auth::client`](crate::Auth::client) makes.
    #[must_use]
    pub fn transport<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        self.transport = Some(network::transport(service));
        self
    }

    /// Connects once and returns what the connection showed, for diagnosis. It sends no request.
    ///
    /// # Errors
    ///
    /// If there is no connection: the host is unknown, nothing listens, the certificate is not trusted, or
    /// a forward proxy refuses.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the attempt.
    pub async fn connect(&self) -> Result<Connection, SourceError> {
        let connected = match self.url("/") {
            Ok(uri) => network::connect(&self.network, uri).await,
            Err(error) => Err(error.into()),
        };
        connected.map_err(|error| match error.downcast::<SetupError>() {
            Ok(error) => unusable(*error),
            Err(error) => {
                let broken = BrokenExchange::new(error, &[]);
                explained(&self.base(), TransportError::Broken(broken))
            }
        })
    }

    /// Returns the full URL of a path of its API.
    ///
    /// # Errors
    ///
    /// If the path is not allowed in a URL.
    pub fn url(&self, path: &str) -> Result<Uri, SetupError> {
        let path = path.trim_start_matches('/');
        format!("{}/{path}", self.base())
            .parse()
            .map_err(|error: http::uri::InvalidUri| {
                SetupError::new(SetupErrorKind::Url, "the path is not allowed in a URL")
                    .with_source(error)
            })
    }

    /// Returns the control plane's URL in its short form: `https://acme.run.ai`.
    #[must_use]
    pub fn base(&self) -> String {
        format!("{}{}", self.origin, self.prefix)
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_accepted_as_people_write_it() {
        for (text, base) in [
            ("acme.run.ai", "https://acme.run.ai"),
            (" https://ACME.run.ai./ ", "https://acme.run.ai"),
            ("https://acme.run.ai:443/api/v1", "https://acme.run.ai"),
            ("https://acme.run.ai/api/v1/token", "https://acme.run.ai"),
            ("acme.run.ai/api/", "https://acme.run.ai"),
            ("https://acme.run.ai/api/v1//", "https://acme.run.ai"),
            (
                "https://gpu.example:8443/runai/api/v1/",
                "https://gpu.example:8443/runai",
            ),
            ("acme.run.ai:8443", "https://acme.run.ai:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            ("http://localhost:80", "http://localhost"),
        ] {
            assert_eq!(ControlPlane::new(text).unwrap().base(), base, "{text}");
        }
        let plane = ControlPlane::new("https://gpu.example/runai").unwrap();
        let url = plane.url("/api/v1/clusters?verbosity=full").unwrap();
        assert_eq!(
            url,
            "https://gpu.example/runai/api/v1/clusters?verbosity=full"
        );
    }

    #[test]
    fn f05_a_bad_url_says_what_to_write() {
        for (text, says) in [
            ("", "is not an origin: write it like https://"),
            ("https://", "is not an origin"),
            ("ftp://acme.run.ai", "is not an origin"),
            ("https://acme.run.ai:port", "is not an origin"),
            ("acme run ai", "is not an origin"),
            ("https://user:pw@acme.run.ai", "leave them out"),
            ("https://acme.run.ai/?x=1", "it has a query or a fragment"),
            ("https://b\u{fc}ro.run.ai", "punycode"),
            (
                "http://acme.run.ai",
                "the secret would go to http://acme.run.ai without TLS",
            ),
            ("http://localhost.evil.example", "without TLS"),
            ("http://a.localhost", "without TLS"),
            ("https:/acme.run.ai", "two slashes"),
            ("https:/user:pw@acme.run.ai", "two slashes"),
            ("https://user:pw/x@acme.run.ai", "leave them out"),
            ("acme.run.ai\nX", "is not an origin"),
            ("https://..", "is not an origin"),
            ("https://[1.2.3.4]", "is not an origin"),
        ] {
            let error = ControlPlane::new(text).unwrap_err();
            let is_url = matches!(
                error.kind(),
                SetupErrorKind::Url | SetupErrorKind::InsecureUrl
            );
            assert!(is_url, "{error:?}");
            assert!(error.to_string().contains(says), "{text}: {error}");
            assert!(!error.to_string().contains("pw"), "{error}");
        }
        assert!(ControlPlane::new_insecure("http://acme.run.ai").is_ok());
    }

    #[test]
    fn a_pem_text_without_certificates_is_an_error() {
        let plane = ControlPlane::new("acme.run.ai").unwrap();
        let error = plane.root_certificates_pem(b"nothing").unwrap_err();
        assert_eq!(error.kind(), SetupErrorKind::Tls);
    }
}
