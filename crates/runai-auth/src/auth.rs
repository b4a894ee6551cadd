//! A control plane with its credentials, ready for use.

use std::sync::Arc;

use http::Uri;
use http_body::Body;
use hyper::body::Incoming;
use tower::Layer;
use tower_bearer::{
    BearerAuth, BearerAuthLayer, BoxError, Builder, ForeignText, ReplayBody, Status, TokenCache,
    auth::{ReadAhead, ReadRejections},
    oauth2::SecretText,
};

use crate::{
    control_plane::ControlPlane, credentials::Credentials, error::SetupError, exchange::Exchange,
    network::HttpClient, source::ControlPlaneSource,
};

/// A ready HTTP client whose requests carry the token. [`Auth::client`] makes it.
///
/// It reads the body of a rejection before the request waits for another token, so that its connection is free.
pub type Client<B> = BearerAuth<ReadRejections<HttpClient<ReplayBody<B>>>>;

/// The body of a [`Client`]'s responses.
pub type ResponseBody = ReadAhead<Incoming>;

/// A control plane and its credentials, with the cache of their token.
///
/// All clones share the token, and so do the layers and clients made from them. Make one per credential
/// and clone it; never make one per request.
#[derive(Clone, Debug)]
pub struct Auth {
    control_plane: Arc<ControlPlane>,
    exchange: Arc<Exchange>,
    credentials: Credentials,
    cache: TokenCache,
}

impl ControlPlane {
    /// Combines the control plane with credentials. Nothing is sent before a token is needed.
    #[must_use]
    pub fn authenticate(self, credentials: impl Into<Credentials>) -> Auth {
        self.authenticate_with(credentials, |cache| cache)
    }

    /// Does the same as [`authenticate`](Self::authenticate), and sets options of the token's cache.
    ///
    /// ```
    /// use std::time::Duration;
    /// use runai_auth::{ControlPlane, Credentials};
    ///
    /// let auth = ControlPlane::new("acme.run.ai")?.authenticate_with(
    ///     Credentials::client("ci-bot", "the secret key"),
    ///     |cache| cache.attempt_timeout(Duration::from_secs(3)),
    /// );
    /// # drop(auth);
    /// # Ok::<_, runai_auth::SetupError>(())
    /// ```
    #[must_use]
    pub fn authenticate_with(
        self,
        credentials: impl Into<Credentials>,
        configure: impl FnOnce(Builder<ControlPlaneSource>) -> Builder<ControlPlaneSource>,
    ) -> Auth {
        let exchange = Arc::new(Exchange::new(self.clone()));
        let credentials = credentials.into();
        let source = ControlPlaneSource::new(exchange.clone(), credentials.clone());
        Auth {
            control_plane: Arc::new(self),
            exchange,
            credentials,
            cache: configure(TokenCache::builder(source)).build(),
        }
    }
}

impl Auth {
    /// Returns a layer for an HTTP client. It sends the token to the control plane, and fails requests to
    /// any other origin. [`BearerAuthLayer::allow`] adds origins, such as a cluster's own domain.
    #[must_use]
    pub fn layer(&self) -> BearerAuthLayer {
        // `ControlPlane::new` applied the same rules, or the caller chose `new_insecure`.
        BearerAuthLayer::new(self.cache.clone()).allow_origin(self.control_plane.origin().clone())
    }

    /// Returns a hyper client with the [`layer`](Self::layer) on it. Make it once and clone it: clones
    /// share its connections.
    ///
    /// A client has one type of body. If some requests have a body and others have none, `Full<Bytes>` or
    /// a boxed body serves both (`Full::default()` is empty).
    ///
    /// Connecting and getting a token have time-outs. An API call has none, because a watch or a long
    /// upload may take any time: put tower's `timeout` around the client if you want one.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up, for example because none of the system's certificates can be read.
    pub fn client<B>(&self) -> Result<Client<B>, SetupError>
    where
        B: Body + Send + Unpin,
        B::Error: Into<BoxError>,
    {
        let client = HttpClient::new(&self.control_plane.network)?;
        Ok(self.layer().layer(ReadRejections::new(client)))
    }

    /// Returns the same client for HTTP/1.1 alone, for upgrades such as WebSocket.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up.
    pub fn http1_client<B>(&self) -> Result<Client<B>, SetupError>
    where
        B: Body + Send + Unpin,
        B::Error: Into<BoxError>,
    {
        let client = HttpClient::http1(&self.control_plane.network)?;
        Ok(self.layer().layer(ReadRejections::new(client)))
    }

    /// Makes a text that somebody else wrote safe to show: the body of an API's error, say. If it repeats a
    /// secret that these credentials have in memory, or one that was sent or issued last, none of it is
    /// shown.
    ///
    /// ```
    /// use runai_auth::{ControlPlane, Credentials};
    ///
    /// let auth = ControlPlane::new("acme.run.ai")?
    ///     .authenticate(Credentials::client("ci-bot", "s3cr3t-key"));
    /// assert_eq!(auth.foreign_text("no\nsuch thing").to_string(), r#""no\nsuch thing""#);
    /// assert!(!auth.foreign_text("you sent s3cr3t-key").to_string().contains("s3cr3t"));
    /// # Ok::<_, runai_auth::SetupError>(())
    /// ```
    #[must_use]
    pub fn foreign_text(&self, text: &str) -> ForeignText {
        let mut secrets = self.credentials.credential.known_secrets();
        secrets.extend(self.exchange.known_secrets());
        ForeignText::without_secrets(text, secrets.iter().map(SecretText::expose_secret))
    }

    /// Returns the token endpoint that issued the last token, if there was one.
    #[must_use]
    pub fn token_endpoint(&self) -> Option<Uri> {
        self.exchange.known_endpoint()
    }

    /// Returns the full URL of a path of the control plane's API.
    ///
    /// # Errors
    ///
    /// If the path is not allowed in a URL.
    pub fn url(&self, path: &str) -> Result<Uri, SetupError> {
        self.control_plane.url(path)
    }

    /// Returns the control plane.
    #[must_use]
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// Returns whether requests can be served, as far as is known, for a readiness probe. See
    /// [`TokenCache::is_ready`].
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.cache.is_ready()
    }

    /// Returns the state of the token's cache, for people and probes.
    #[must_use]
    pub fn status(&self) -> Status {
        self.cache.status()
    }

    /// Returns the cache itself: to take the token, to refresh it, or to make a layer with other rules.
    #[must_use]
    pub fn cache(&self) -> &TokenCache {
        &self.cache
    }
}
