//! A tower layer that fetches, caches, refreshes and stamps bearer tokens, for any token source.
//!
//! Say where tokens come from, once, and put the layer around an HTTP client. Requests then carry a
//! valid `Authorization: Bearer` header: the token is refreshed ahead of its expiry while the old one is
//! served, and one that the server rejects is replaced inside the request that finds out.
//!
//! ```
//! use std::time::Duration;
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{Layer, ServiceExt};
//! use tower_bearer::{BearerAuthLayer, ReplayBody, Token, TokenCache, source_fn};
//!
//! # async fn example() -> Result<(), tower_bearer::BoxError> {
//! let cache = TokenCache::new(source_fn(|_cx| async {
//!     // Ask your identity provider here.
//!     Ok(Token::new("s3cr3t")?.expires_in(Duration::from_secs(3600)))
//! }));
//! let client = Client::builder(TokioExecutor::new()).build_http::<ReplayBody<Full<Bytes>>>();
//! let api = BearerAuthLayer::new(cache).allow("http://127.0.0.1:8080")?.layer(client);
//!
//! let request = Request::get("http://127.0.0.1:8080/things").body(Full::default())?;
//! let response = api.oneshot(request).await?;
//! # drop(response);
//! # Ok(())
//! # }
//! ```
//!
//! # The parts
//!
//! - [`TokenSource`] fetches one token, once. [`source_fn`] makes one of a function.
//! - [`TokenCache`] is the handle: one cell and one refresh, shared by all clones.
//! - [`BearerAuthLayer`] makes [`BearerAuth`] services, for the origins that it is told.
//! - `oauth2`, behind the feature of that name, has sources for any OAuth 2.0 provider.
//! - [`clock`] and [`Builder::seed`] put time and chance into a test's hands.
//!
//! # How it differs from its neighbours
//!
//! tower-http's `AddAuthorizationLayer` stamps a header that never changes: right for a token that
//! never ends. A `Mutex<Option<Token>>` by hand refreshes, and makes every request wait for it each hour;
//! when the endpoint fails, each waiting caller asks it again. Here a request that finds a fresh token
//! takes no lock, a refresh is one task that all share with its error, and what a 401 costs the token
//! endpoint is limited.
//!
//! # Cancel safety
//!
//! Every future here can be dropped at any time. A refresh belongs to no caller: it goes on, and its
//! token is cached.
//!
//! # Limits
//!
//! - It runs on tokio, with its timer. Anywhere else the answer is a typed error.
//! - A cache that is kept warm on a runtime which is parked, not ended, is not hosted anew.
//! - gRPC's `UNAUTHENTICATED` is seen in a response's headers, not in trailers after a body.
//! - Thousands of uploads taken back on one HTTP/2 connection may make a server end it (too many
//!   resets); the limiter keeps rejections that lead to a retry far below that.
//! - The secret's memory is wiped when the last clone of a token is gone, but not what a connection
//!   has copied into its buffers.

pub mod auth;
mod builder;
mod cache;
pub mod clock;
mod error;
#[cfg(feature = "oauth2")]
pub mod oauth2;
mod observe;
mod refresh;
mod shard;
mod source;
mod sync;
mod token;

pub use crate::{
    auth::{
        AuthOutcome, BearerAuth, BearerAuthLayer, InvalidOrigin, NotRetried, ReplayBody,
        RequestOptions,
    },
    builder::Builder,
    cache::TokenCache,
    error::{BoxError, Error, Kind},
    observe::{Counts, Event, Outcome, Phase, Reason, Refreshes, Status, Subscription},
    refresh::Acquire,
    source::{FetchContext, SourceError, SourceFn, TokenSource, source_fn},
    token::{InvalidToken, Token},
};

/// The crate's README, so that its example is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
