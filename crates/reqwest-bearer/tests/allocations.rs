//! What a request through the middleware allocates. A process of its own, since it counts all that is allocated in it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

use std::alloc::System;

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_bearer::BearerAuthMiddleware;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Middleware, Next};
use runai_auth::tower_bearer::{BearerAuthLayer, Token, TokenCache, source_fn};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Answers without a network.
struct Answer;

#[async_trait::async_trait]
impl Middleware for Answer {
    async fn handle(&self, _: Request, _: &mut Extensions, _: Next<'_>) -> Result<Response, Error> {
        Ok(Response::from(http::Response::new("")))
    }
}

async fn allocations(client: &ClientWithMiddleware) -> usize {
    const REQUESTS: usize = 100;
    let send = async || client.get("https://api.example/x").send().await.unwrap();
    send().await;
    let region = Region::new(COUNTING);
    for _ in 0..REQUESTS {
        send().await;
    }
    region.change().allocations.div_ceil(REQUESTS)
}

#[tokio::test]
async fn l43_a_layer_for_each_request_costs_few_allocations() {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let cache = TokenCache::new(source_fn(|_| async { Ok(Token::new("t1")?) }));
    cache.token().await.unwrap();
    let layer = BearerAuthLayer::new(cache)
        .allow("https://api.example")
        .unwrap();
    let http = reqwest::Client::new();
    let bare = ClientBuilder::new(http.clone()).with(Answer).build();
    let ours = ClientBuilder::new(http)
        .with(BearerAuthMiddleware::new(layer))
        .with(Answer)
        .build();
    let (bare, ours) = (allocations(&bare).await, allocations(&ours).await);
    println!("{bare} allocations without, {ours} with the middleware");
    assert!(ours - bare <= MOST, "{} more", ours - bare);
}

/// What it was when this test was written: one for what the layer shares, the others for the request and its copies.
const MOST: usize = 19;
