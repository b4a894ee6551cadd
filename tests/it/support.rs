//! A fake control plane, and the layer that talks to it.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use runai_auth::{
    Auth, BoxError, Client, ControlPlane, Credentials, TokenEndpoint,
    tower_bearer::{Kind, Report, clock::ManualClock},
};
use runai_fake::RunaiFake;
use test_support::wait_for;
use tower::ServiceExt;

pub(crate) const APPLICATION: &str = "ci-bot";
pub(crate) const SECRET: &str = "s3cr3t-of-the-tests";
pub(crate) const CLUSTERS: &str = "/api/v1/clusters";
pub(crate) const SUBMIT: &str = "/api/v1/workloads/trainings";

pub(crate) struct Setup {
    pub(crate) fake: RunaiFake,
    pub(crate) auth: Auth,
    pub(crate) api: Client<Full<Bytes>>,
    pub(crate) clock: ManualClock,
}

/// How the fake is spoken to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wire {
    Http1,
    /// Over TLS.
    Http2,
}

pub(crate) const BOTH: [Wire; 2] = [Wire::Http1, Wire::Http2];

pub(crate) async fn setup() -> Setup {
    setup_over(Wire::Http1).await
}

pub(crate) async fn setup_over(wire: Wire) -> Setup {
    let fake = RunaiFake::builder()
        .application(APPLICATION, SECRET)
        .tls(wire == Wire::Http2)
        .start()
        .await
        .unwrap();
    let clock = ManualClock::new();
    let auth = authenticate(&fake, &clock, SECRET);
    let api = auth.client().unwrap();
    Setup {
        fake,
        auth,
        api,
        clock,
    }
}

/// Credentials for a fake, on the test's clock, with one attempt in a refresh.
pub(crate) fn authenticate(fake: &RunaiFake, clock: &ManualClock, secret: &str) -> Auth {
    // `endpoints` tests the detection of the version.
    let mut control_plane = ControlPlane::new(fake.url())
        .unwrap()
        .token_endpoint(TokenEndpoint::V1);
    if let Some(pem) = fake.ca_pem() {
        control_plane = control_plane.root_certificates_pem(pem.as_bytes()).unwrap();
    }
    let clock = clock.clone();
    control_plane.authenticate_with(Credentials::client(APPLICATION, secret), |cache| {
        cache.clock(clock).seed(7).attempts(1)
    })
}

impl Setup {
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, BoxError> {
        let request = Request::get(self.auth.url(path)?).body(Full::default())?;
        self.send(request).await
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, BoxError> {
        let (head, body) = self.api.clone().oneshot(request).await?.into_parts();
        Ok(Answer {
            status: head.status,
            stamped: head.extensions.get().cloned(),
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
    }

    /// Moves both sides' time.
    pub(crate) fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
        self.fake.advance_clock(Duration::from_secs(secs));
    }

    /// Waits until the cache says so of itself.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Auth) -> bool) {
        wait_for(what, async || holds(&self.auth)).await;
    }
}

/// A response, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) stamped: Option<runai_auth::AuthOutcome>,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Why the rejected request was not retried.
    pub(crate) fn not_retried(&self) -> Option<String> {
        self.stamped
            .as_ref()?
            .not_retried()
            .map(ToString::to_string)
    }
}

/// The kind of one of the engine's errors.
pub(crate) fn kind(error: &BoxError) -> &Kind {
    error
        .downcast_ref::<runai_auth::tower_bearer::Error>()
        .expect("an error of the engine's")
        .kind()
}

/// An error and its causes, as people print it.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    Report::new(error).to_string()
}

/// The headers of a request without the token.
pub(crate) fn bare(headers: &http::HeaderMap) -> http::HeaderMap {
    let mut headers = headers.clone();
    headers.remove(AUTHORIZATION);
    headers
}
