//! An API whose answers the test sets, and the layer around it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use tower_bearer::{BearerAuthLayer, BoxError, Error, Kind, ReplayBody, TokenCache};

use crate::support::{Control, cache};

pub(crate) const API: &str = "https://api.example/things";

/// What an inner service received.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) extension: Option<u32>,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.headers
            .get("authorization")?
            .to_str()
            .unwrap()
            .strip_prefix("Bearer ")
    }

    /// The same without the token.
    pub(crate) fn bare(mut self) -> Self {
        self.headers.remove("authorization");
        self
    }
}

/// An API that answers with the statuses it was given, then with 200.
#[derive(Clone, Default)]
pub(crate) struct Api {
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) statuses: Arc<Mutex<VecDeque<u16>>>,
}

impl Api {
    pub(crate) fn answering(statuses: &[u16]) -> Self {
        Self {
            statuses: Arc::new(Mutex::new(statuses.iter().copied().collect())),
            ..Self::default()
        }
    }

    pub(crate) async fn answer<B>(
        self,
        request: Request<ReplayBody<B>>,
    ) -> Result<Response<String>, BoxError>
    where
        B: http_body::Body,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        self.seen.lock().unwrap().push(Seen {
            method: head.method,
            uri: head.uri.to_string(),
            version: head.version,
            headers: head.headers,
            extension: head.extensions.get().copied(),
            body,
        });
        let status = self.statuses.lock().unwrap().pop_front().unwrap_or(200);
        let mut response = Response::new(format!("answer {status}"));
        *response.status_mut() = StatusCode::from_u16(status)?;
        response.headers_mut().insert("x-answer", "kept".parse()?);
        Ok(response)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn bearers(&self) -> Vec<Option<String>> {
        self.seen()
            .iter()
            .map(|seen| seen.bearer().map(str::to_owned))
            .collect()
    }
}

macro_rules! authorized {
    ($cache:expr, $api:expr) => {{
        use tower::Layer;
        let api = $api.clone();
        $crate::api::layer($cache).layer(tower::service_fn(move |request| {
            api.clone().answer(request)
        }))
    }};
}
pub(crate) use authorized;

pub(crate) fn layer(cache: &TokenCache) -> BearerAuthLayer {
    BearerAuthLayer::new(cache.clone())
        .allow("https://api.example")
        .unwrap()
}

pub(crate) fn get() -> Request<Empty<Bytes>> {
    Request::get(API).body(Empty::new()).unwrap()
}

pub(crate) fn ours(error: &BoxError) -> &Kind {
    error
        .downcast_ref::<Error>()
        .expect("an error of this crate's")
        .kind()
}

pub(crate) async fn ready(secret: &str) -> (TokenCache, Control) {
    let (cache, control) = cache();
    control.fill(&cache, secret).await;
    (cache, control)
}
