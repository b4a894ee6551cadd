//! cf-gears-toolkit-auth: a tower layer over a worker that fetches from a token endpoint.

use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use tokio::runtime::Runtime;
use toolkit_auth::oauth2::{
    BearerAuthAutoRefreshLayer, BearerAuthLayer, OAuthClientConfig, SecretString, TokenProvider,
};
use toolkit_http::{HttpClientConfig, HttpError};
use tower_layer::Layer;
use tower_service::Service;

use super::{Boxed, Client, No, Peer, Stamp, by_hand::hour};
use crate::{
    endpoint,
    source::{Api, Source},
    stacks,
    workload::{Body, Noop, request},
};

pub struct Gears;

/// A service of theirs must have their error.
#[derive(Clone)]
struct Terminal(Option<Arc<Api>>);

impl Service<Request<Body>> for Terminal {
    type Response = Response<Body>;
    type Error = HttpError;
    type Future = Ready<Result<Response<Body>, HttpError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut response = Response::new(Body::new());
        match &self.0 {
            Some(api) => *response.status_mut() = api.judge(request.headers()),
            None => {
                std::hint::black_box(&request);
            }
        }
        ready(Ok(response))
    }
}

async fn provider(source: Arc<Source>) -> Result<TokenProvider, No> {
    let url = endpoint::serve(source).await.map_err(|it| it.to_string())?;
    let config = OAuthClientConfig {
        token_endpoint: Some(url.parse().map_err(|_| "no URL".to_owned())?),
        client_id: "id".into(),
        client_secret: SecretString::new("secret"),
        http_config: Some(HttpClientConfig::for_testing()),
        ..OAuthClientConfig::default()
    };
    TokenProvider::new(config).map_err(|it| it.to_string())
}

struct Through<S>(S);

impl<S> Client for Through<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: ToString,
    S::Future: Send + 'static,
{
    fn send(&self) -> Boxed<Result<StatusCode, String>> {
        let response = self.0.clone().call(request());
        Box::pin(async move { Ok(response.await.map_err(|it| it.to_string())?.status()) })
    }
}

impl Peer for Gears {
    fn name(&self) -> &'static str {
        "cf-gears-toolkit-auth"
    }

    fn package(&self) -> Option<&'static str> {
        Some("cf-gears-toolkit-auth")
    }

    fn path(&self) -> &'static str {
        "`BearerAuthLayer` (the counts: `BearerAuthAutoRefreshLayer`)"
    }

    fn heals(&self) -> bool {
        true
    }

    fn lifetime(&self, due_in: Duration) -> Result<Duration, No> {
        // Stale after half its life, less a jitter of up to all of that.
        Ok(due_in * 2)
    }

    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>> {
        Box::pin(async move {
            let layer = BearerAuthAutoRefreshLayer::new(provider(source).await?);
            let client: Arc<dyn Client> = Arc::new(Through(layer.layer(Terminal(Some(api)))));
            Ok(client)
        })
    }

    fn stamp(&self, runtime: &Runtime) -> Result<Stamp, No> {
        let provider = runtime.block_on(async {
            let provider = provider(hour()).await?;
            provider.get().await.map_err(|it| it.to_string())?;
            Ok::<_, No>(provider)
        })?;
        let with = BearerAuthLayer::new(provider).layer(Terminal(None));
        Ok(Stamp {
            with: stacks::make(with, false),
            bare: stacks::make(Noop, false),
        })
    }
}
