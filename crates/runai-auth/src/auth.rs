//! Credentials for one control plane, ready for use.

use std::sync::Arc;

use http::Uri;
use http_body::Body;
use tower::Layer;
use tower_bearer::{
    BearerAuth, BearerAuthLayer, BoxError, Builder, ReplayBody, Status, TokenCache,
};

use crate::{
    client::HttpClient, control_plane::ControlPlane, credentials::Credentials, env, error::Error,
    exchange::Exchange, source::ControlPlaneSource,
};

/// A ready HTTP client whose requests carry the token: what [`Auth::client`] makes.
pub type Client<B> = BearerAuth<HttpClient<ReplayBody<B>>>;

/// Credentials for one control plane, with the cache of their token.
///
/// Clones share the token, and so do all layers and clients that are made from them. Make one per
/// credential, and clone it; never make one per request.
#[derive(Clone, Debug)]
pub struct Auth {
    control_plane: Arc<ControlPlane>,
    exchange: Arc<Exchange>,
    cache: TokenCache,
}

impl Auth {
    pub(crate) fn new(
        control_plane: ControlPlane,
        credentials: Credentials,
        configure: impl FnOnce(Builder<ControlPlaneSource>) -> Builder<ControlPlaneSource>,
    ) -> Self {
        let exchange = Arc::new(Exchange::new(control_plane.clone()));
        let source = ControlPlaneSource::new(exchange.clone(), credentials);
        Self {
            control_plane: Arc::new(control_plane),
            exchange,
            cache: configure(TokenCache::builder(source)).build(),
        }
    }

    /// Takes the control plane and the credentials from the environment: `RUNAI_BASE_URL`,
    /// `RUNAI_CLIENT_ID` and `RUNAI_CLIENT_SECRET`. Each of the latter two may be in a file that
    /// `RUNAI_CLIENT_ID_FILE` or `RUNAI_CLIENT_SECRET_FILE` names, and that may be rotated. One line break
    /// at a file's end is not part of the value.
    ///
    /// # Errors
    ///
    /// If one is missing, empty or no text, a value is there in both forms, a file cannot be read, or
    /// the URL is none. All that is missing is named at once.
    pub fn from_env() -> Result<Self, Error> {
        env::auth(&|name| std::env::var_os(name))
    }

    /// Takes the control plane from `RUNAI_BASE_URL`, or else from the Run:ai command line's
    /// `config.json`, and the credentials that [`Credentials::discover`] finds.
    ///
    /// # Errors
    ///
    /// If one or the other is not found, or the URL is none.
    pub fn discover() -> Result<Self, Error> {
        let control_plane = ControlPlane::discover()?;
        let credentials = Credentials::discover(&control_plane)?;
        Ok(control_plane.authenticate(credentials))
    }

    /// The layer that goes around an HTTP client: the token goes to the control plane, and a request
    /// for any other origin is an error. [`BearerAuthLayer::allow`] adds origins, a cluster's own
    /// domain, say.
    #[must_use]
    pub fn layer(&self) -> BearerAuthLayer {
        // The control plane's URL was checked, with the same rules or with the caller's consent.
        BearerAuthLayer::new(self.cache.clone()).allow_origin(self.control_plane.origin().clone())
    }

    /// A ready hyper client with the [`layer`](Self::layer) on it. Make it once and clone it: clones
    /// share its connections.
    ///
    /// A client has one type of body. Where requests have none and others have one, `Full<Bytes>` does
    /// for both (`Full::default()` is empty), or a boxed body.
    ///
    /// Connecting has a time-out, and so has getting a token; an API call has none, since a watch or a
    /// long upload may take its time. Put tower's `timeout` around the client for one.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up: no certificate of the system's can be read, say.
    pub fn client<B>(&self) -> Result<Client<B>, Error>
    where
        B: Body + Send + Unpin,
        B::Error: Into<BoxError>,
    {
        Ok(self.layer().layer(HttpClient::new(&self.control_plane)?))
    }

    /// The same over HTTP/1.1 alone: for upgrades (WebSocket), which HTTP/2 does otherwise.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up.
    pub fn http1_client<B>(&self) -> Result<Client<B>, Error>
    where
        B: Body + Send + Unpin,
        B::Error: Into<BoxError>,
    {
        Ok(self.layer().layer(HttpClient::http1(&self.control_plane)?))
    }

    /// The token endpoint that issued a token last, if one did: told, or found out.
    #[must_use]
    pub fn token_endpoint(&self) -> Option<Uri> {
        self.exchange.known_endpoint()
    }

    /// The full URL of a path of the control plane's API.
    ///
    /// # Errors
    ///
    /// If the path cannot stand in a URL.
    pub fn url(&self, path: &str) -> Result<Uri, Error> {
        self.control_plane.url(path)
    }

    /// The control plane.
    #[must_use]
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// Whether requests can be served, as far as is known: for a readiness probe. See
    /// [`TokenCache::is_ready`].
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.cache.is_ready()
    }

    /// What the token's cache is doing, for people and probes.
    #[must_use]
    pub fn status(&self) -> Status {
        self.cache.status()
    }

    /// The cache itself: to take the token, to refresh it, to make a layer with other rules.
    #[must_use]
    pub fn cache(&self) -> &TokenCache {
        &self.cache
    }
}
