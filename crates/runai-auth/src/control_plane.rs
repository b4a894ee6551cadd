//! Where tokens are asked for.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body::Body;
use http_body_util::Full;
use tower_bearer::{
    BoxError, Builder, SourceError,
    auth::Origin,
    oauth2::{Failure, Transport},
};
use tower_service::Service;

use crate::{
    auth::Auth,
    client::{self, Connection, Network},
    credentials::Credentials,
    discover::{self, Machine},
    endpoint::TokenEndpoint,
    error::{Error, Kind},
    explain,
    proxy::ProxyRule,
    source::ControlPlaneSource,
};

/// This crate's own part of the `User-Agent`.
const USER_AGENT: &str = concat!("runai-auth/", env!("CARGO_PKG_VERSION"));

/// A Run:ai control plane, and how to reach it.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    origin: Origin,
    /// What stands before `/api`, where a proxy serves the control plane below a path.
    prefix: String,
    realm: Option<String>,
    pub(crate) token_endpoint: TokenEndpoint,
    pub(crate) network: Network,
    pub(crate) user_agent: HeaderValue,
    pub(crate) transport: Option<Transport>,
}

impl ControlPlane {
    /// How long a connection may take: 10 s, what an attempt to get a token may take as a whole.
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

    /// The control plane at a URL: `https://acme.run.ai`, or `acme.run.ai` for short. Slashes at the
    /// end are dropped, and so are `/api`, `/api/v1` and `/api/v1/token` there.
    ///
    /// # Errors
    ///
    /// If it is no URL, carries a user name, a password, a query or a fragment, or is reached over a
    /// network without TLS.
    pub fn new(url: &str) -> Result<Self, Error> {
        let this = Self::new_insecure(url)?;
        if !this.origin.is_safe() {
            return Err(Error::new(
                Kind::Url,
                format!(
                    "the secret would go to {} without TLS: use https, or ControlPlane::new_insecure",
                    this.origin
                ),
            ));
        }
        Ok(this)
    }

    /// The same, also without TLS, where everybody on the way can read the secret and the token.
    ///
    /// # Errors
    ///
    /// If it is no URL, or carries a user name, a password, a query or a fragment.
    pub fn new_insecure(url: &str) -> Result<Self, Error> {
        let text = url.trim();
        let full = match text.contains("://") {
            true => text.to_owned(),
            false => format!("https://{text}"),
        };
        let invalid = |why: &dyn std::fmt::Display| {
            Error::new(Kind::Url, format!("the control plane's URL: {why}"))
        };
        if !text.contains("://") && text.contains(":/") {
            return Err(invalid(&"its scheme must end in two slashes"));
        }
        if full.contains(['?', '#']) {
            return Err(invalid(
                &"it has a query or a fragment, which must be left out",
            ));
        }
        let origin = Origin::parse(&full).map_err(|error| invalid(&error))?;
        let uri: Uri = full.parse().map_err(|error| invalid(&error))?;
        let path = uri.path().trim_end_matches('/');
        let path = ["/api/v1/token", "/api/v1", "/api"]
            .iter()
            .find_map(|end| path.strip_suffix(end))
            .unwrap_or(path)
            .trim_end_matches('/');
        Ok(Self {
            origin,
            prefix: path.to_owned(),
            realm: None,
            token_endpoint: TokenEndpoint::Auto,
            network: Network::default(),
            user_agent: HeaderValue::from_static(USER_AGENT),
            transport: None,
        })
    }

    /// The control plane that `RUNAI_BASE_URL` names, or else the Run:ai command line's `config.json`.
    ///
    /// # Errors
    ///
    /// If neither does, or what it names is no URL.
    pub fn discover() -> Result<Self, Error> {
        Self::new(&discover::url(&Machine::this())?)
    }

    /// Sets which form of token endpoint it has.
    ///
    /// Defaults to [`TokenEndpoint::Auto`]: it is found out.
    #[must_use]
    pub fn token_endpoint(mut self, endpoint: TokenEndpoint) -> Self {
        self.token_endpoint = endpoint;
        self
    }

    /// Names the realm in which Keycloak keeps its users, where its own endpoint is used.
    ///
    /// Defaults to the tenant's name for `<tenant>.run.ai`, and to `runai` elsewhere.
    ///
    /// # Errors
    ///
    /// If it cannot stand in a path.
    pub fn realm(mut self, name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
            let message = "the realm's name may have letters, digits, `-`, `_`, `.` and `~`";
            return Err(Error::new(Kind::Url, message));
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
        let told = self.realm.clone().or_else(tenant);
        told.unwrap_or_else(|| "runai".into())
    }

    /// Trusts the certificates in a PEM text too, beside the system's: a private CA.
    ///
    /// Defaults to the system's alone, or, where `SSL_CERT_FILE` names a file, to those in it alone.
    ///
    /// # Errors
    ///
    /// If there is no certificate in it.
    pub fn root_certificates_pem(mut self, pem: &[u8]) -> Result<Self, Error> {
        self.network.tls.trust_pem(pem)?;
        Ok(self)
    }

    /// Trusts the certificates in a PEM file too, beside the system's. New connections follow a file that
    /// changes; one that is gone or broken keeps the last good certificates.
    ///
    /// Defaults to none.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or there is no certificate in it.
    pub fn root_certificates_file(mut self, path: impl Into<PathBuf>) -> Result<Self, Error> {
        self.network.tls.trust_file(path.into())?;
        Ok(self)
    }

    /// Shows a client certificate, for control planes that want one: a PEM text with the certificate and
    /// those that lead to its CA, and one with its private key.
    ///
    /// Defaults to none.
    ///
    /// # Errors
    ///
    /// If one of the texts does not hold what it should, or they do not belong together.
    pub fn client_certificate_pem(mut self, chain: &[u8], key: &[u8]) -> Result<Self, Error> {
        self.network.tls.show_pem(chain, key)?;
        Ok(self)
    }

    /// The same from files. New connections follow files that change; while the two do not belong
    /// together, the last good ones are shown.
    ///
    /// Defaults to none.
    ///
    /// # Errors
    ///
    /// If one of the files does not hold what it should, or they do not belong together.
    pub fn client_certificate_files(
        mut self,
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, Error> {
        self.network.tls.show_files(chain.into(), key.into())?;
        Ok(self)
    }

    /// Takes any certificate. Anybody on the way can then read the secret and the token, so this is for
    /// a try on a network of your own; each client that is made says so in the log, as a warning. For a
    /// private CA there is [`root_certificates_file`](Self::root_certificates_file).
    #[must_use]
    pub fn danger_accept_invalid_certificates(mut self) -> Self {
        self.network.tls.accept_any();
        self
    }

    /// Reaches the control plane through a forward proxy (`CONNECT`): `http://proxy.example:3128`, with
    /// `user:password@` before the host if it wants that.
    ///
    /// Defaults to what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say, in either case.
    /// This machine is always reached straight.
    ///
    /// # Errors
    ///
    /// If it is no URL of an HTTP proxy.
    pub fn proxy(mut self, url: &str) -> Result<Self, Error> {
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| {
            Error::new(Kind::Url, "the proxy's URL is none").with_source(error)
        })?;
        if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
            let message = "the proxy's URL must be like http://proxy.example:3128";
            return Err(Error::new(Kind::Url, message));
        }
        self.network.proxy = ProxyRule::All(uri);
        Ok(self)
    }

    /// Reaches the control plane straight, whatever the environment says of proxies.
    #[must_use]
    pub fn no_proxy(mut self) -> Self {
        self.network.proxy = ProxyRule::None;
        self
    }

    /// Names your program in the `User-Agent` of token requests, before this crate: with `my-app/1.0`
    /// it is `my-app/1.0 runai-auth/0.1.0`.
    ///
    /// Defaults to this crate alone.
    ///
    /// # Errors
    ///
    /// If it holds what may not stand in a header.
    pub fn user_agent(mut self, product: &str) -> Result<Self, Error> {
        self.user_agent =
            HeaderValue::try_from(format!("{product} {USER_AGENT}")).map_err(|error| {
                Error::new(Kind::UserAgent, "the user agent cannot stand in a header")
                    .with_source(error)
            })?;
        Ok(self)
    }

    /// How long the default client may take to connect.
    ///
    /// Defaults to [`DEFAULT_CONNECT_TIMEOUT`](Self::DEFAULT_CONNECT_TIMEOUT).
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.network.connect_timeout = timeout;
        self
    }

    /// Asks for tokens through an HTTP client of your own. It must not follow redirects, which would
    /// hand the secret on.
    ///
    /// Defaults to the client that [`Auth::client`] makes.
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
        self.transport = Some(Transport::new(service));
        self
    }

    /// Holds the credentials for this control plane. Nothing is sent before a token is needed.
    #[must_use]
    pub fn authenticate(self, credentials: impl Into<Credentials>) -> Auth {
        self.authenticate_with(credentials, |cache| cache)
    }

    /// The same, with settings of the token's cache.
    ///
    /// ```
    /// use std::{path::PathBuf, time::Duration};
    /// use runai_auth::{ControlPlane, Credentials};
    ///
    /// let auth = ControlPlane::new("acme.run.ai")?.authenticate_with(
    ///     Credentials::client("ci-bot", "the secret key"),
    ///     |cache| cache.attempt_timeout(Duration::from_secs(3)),
    /// );
    /// # drop(auth);
    /// # Ok::<_, runai_auth::Error>(())
    /// ```
    #[must_use]
    pub fn authenticate_with(
        self,
        credentials: impl Into<Credentials>,
        configure: impl FnOnce(Builder<ControlPlaneSource>) -> Builder<ControlPlaneSource>,
    ) -> Auth {
        Auth::new(self, credentials.into(), configure)
    }

    /// Connects once, and says what came of it: for people who look for what is wrong. It sends nothing.
    ///
    /// # Errors
    ///
    /// If no connection comes about: the name is not known, nothing listens, the certificate is not
    /// trusted, a forward proxy refuses.
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives the attempt up.
    pub async fn connect(&self) -> Result<Connection, SourceError> {
        let connected = client::connect(self).await;
        connected.map_err(|error| explain::explained(&self.base(), Failure::Broken(error)))
    }

    /// The full URL of a path of its API.
    ///
    /// # Errors
    ///
    /// If the path cannot stand in a URL.
    pub fn url(&self, path: &str) -> Result<Uri, Error> {
        let path = path.trim_start_matches('/');
        format!("{}/{path}", self.base())
            .parse()
            .map_err(|error: http::uri::InvalidUri| {
                Error::new(Kind::Url, "the path cannot stand in a URL").with_source(error)
            })
    }

    /// The control plane as it was understood: `https://acme.run.ai`.
    #[must_use]
    pub fn base(&self) -> String {
        format!("{}{}", self.origin, self.prefix)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.origin.to_string().starts_with("https:")
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_as_people_write_it() {
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
            ("", "invalid origin"),
            ("https://", "invalid origin"),
            ("ftp://acme.run.ai", "invalid origin"),
            ("https://acme.run.ai:port", "invalid origin"),
            ("acme run ai", "invalid origin"),
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
            ("acme.run.ai\nX", "invalid origin"),
            ("https://..", "invalid origin"),
            ("https://[1.2.3.4]", "invalid origin"),
        ] {
            let error = ControlPlane::new(text).unwrap_err();
            assert_eq!(error.kind(), Kind::Url);
            assert!(error.to_string().contains(says), "{text}: {error}");
            assert!(!error.to_string().contains("pw"), "{error}");
        }
        assert!(ControlPlane::new_insecure("http://acme.run.ai").is_ok());
    }

    #[test]
    fn certificates_must_be_there() {
        let plane = ControlPlane::new("acme.run.ai").unwrap();
        let error = plane.root_certificates_pem(b"nothing").unwrap_err();
        assert_eq!(error.kind(), Kind::Tls);
    }
}
