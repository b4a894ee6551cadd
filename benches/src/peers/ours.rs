//! This project's layer.

use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use tokio::runtime::Runtime;
use tower_bearer::{BearerAuth, BearerAuthLayer, SourceError, Token, TokenCache, source_fn};
use tower_layer::Layer;
use tower_service::Service;

use super::{Boxed, Client, No, Peer, Stamp};
use crate::{
    source::{Api, Source},
    stacks,
    workload::{Body, Noop, ORIGIN, request},
};

pub struct Ours;

/// The service at the inner end, which judges the token.
#[derive(Clone)]
pub struct Judge(pub Arc<Api>);

impl<B> Service<Request<B>> for Judge {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Response<Body>, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut response = Response::new(Body::new());
        *response.status_mut() = self.0.judge(request.headers());
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        ready(Ok(response))
    }
}

struct Through(BearerAuth<Judge>);

impl Client for Through {
    fn send(&self) -> Boxed<Result<StatusCode, String>> {
        let response = self.0.clone().call(request());
        Box::pin(async move {
            match response.await {
                Ok(response) => Ok(response.status()),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

impl Peer for Ours {
    fn name(&self) -> &'static str {
        "tower-bearer"
    }

    fn package(&self) -> Option<&'static str> {
        Some("tower-bearer")
    }

    fn path(&self) -> &'static str {
        "`BearerAuthLayer` without retry"
    }

    fn heals(&self) -> bool {
        true
    }

    fn lifetime(&self, due_in: Duration) -> Result<Duration, No> {
        // A tenth is the margin, a quarter the window, and the jitter up to an eighth.
        Ok(due_in * 2)
    }

    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>> {
        let fetch = source_fn(move |_| {
            let source = source.clone();
            async move {
                match source.fetch().await {
                    Ok(issued) => Ok(Token::new(issued.secret)?.expires_in(issued.lifetime)),
                    Err(_) => Err(SourceError::transient("the source is down")),
                }
            }
        });
        // One attempt a refresh, as all others have.
        let cache = TokenCache::builder(fetch).attempts(1).build();
        let layer = BearerAuthLayer::new(cache)
            .allow(ORIGIN)
            .expect("an origin");
        let client: Arc<dyn Client> = Arc::new(Through(layer.layer(Judge(api))));
        Box::pin(async move { Ok(client) })
    }

    fn stamp(&self, runtime: &Runtime) -> Result<Stamp, No> {
        Ok(Stamp {
            with: stacks::make(stacks::ours(runtime, Noop, false), false),
            bare: stacks::make(Noop, false),
        })
    }
}
