//! The exchange with the control plane.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, Method, Request, header};
use http_body_util::Full;
use tower_bearer::{BoxError, FetchContext, SourceError, Token, TokenSource};

use crate::{
    answer, client::HttpClient, control_plane::ControlPlane, credentials::Credentials,
    error::Error, explain::Scene, transport::Transport,
};

pub(crate) const TOKEN_PATH: &str = "/api/v1/token";

/// Asks one control plane for tokens, for one application: the source of the cache that
/// [`ControlPlane::authenticate_with`] sets up.
#[derive(Debug)]
pub struct ControlPlaneSource {
    control_plane: Arc<ControlPlane>,
    credentials: Credentials,
    transport: OnceLock<Transport>,
}

impl ControlPlaneSource {
    pub(crate) fn new(control_plane: Arc<ControlPlane>, credentials: Credentials) -> Self {
        let transport = OnceLock::new();
        if let Some(own) = &control_plane.transport {
            transport.get_or_init(|| own.clone());
        }
        Self {
            control_plane,
            credentials,
            transport,
        }
    }

    /// The caller's own transport, or the default client, which is made at the first request.
    fn transport(&self) -> Result<&Transport, Error> {
        if let Some(transport) = self.transport.get() {
            return Ok(transport);
        }
        let client = HttpClient::new(&self.control_plane)?;
        Ok(self.transport.get_or_init(|| Transport::new(client)))
    }

    fn request(&self, secret: &str) -> Result<Request<Full<bytes::Bytes>>, SourceError> {
        let unsendable = |error: BoxError| {
            SourceError::malformed("the token request cannot be written").with_source(error)
        };
        let body = self
            .credentials
            .request_body(secret)
            .map_err(|error| unsendable(error.into()))?;
        let uri = self
            .control_plane
            .url(TOKEN_PATH)
            .map_err(|error| unsendable(error.into()))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(header::USER_AGENT, self.control_plane.user_agent.clone());
        Ok(request)
    }
}

impl TokenSource for ControlPlaneSource {
    fn epoch(&self) -> u64 {
        self.credentials.secret().epoch()
    }

    fn describe(&self) -> Cow<'_, str> {
        let base = self.control_plane.base();
        let id = self.credentials.id();
        Cow::Owned(format!("{base} (application `{id}`)"))
    }

    async fn fetch(&self, _cx: &FetchContext) -> Result<Token, SourceError> {
        let secret = self.credentials.secret().current().await;
        let secret = secret.map_err(|error| {
            let id = self.credentials.id();
            SourceError::transient(format!("there is no secret for application `{id}`"))
                .with_source(error)
        })?;
        let scene = Scene {
            control_plane: &self.control_plane,
            credentials: &self.credentials,
            secret: &secret,
        };
        let request = self.request(&secret)?;
        let transport = self
            .transport()
            .map_err(|error| SourceError::malformed(error.to_string()).with_source(error))?;
        let answer = transport
            .send(request)
            .await
            .map_err(|failure| scene.failure(failure))?;
        let local = local_time();
        answer::token(&answer, local).map_err(|flaw| scene.flaw(flaw, &answer, local))
    }
}

/// Seconds since 1970. It is only looked at where the server does not tell its own time.
#[expect(
    clippy::disallowed_methods,
    reason = "the cache's clock does not tell the time of day"
)]
fn local_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
