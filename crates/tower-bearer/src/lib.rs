//! A tower layer that fetches, caches, refreshes and stamps bearer tokens, for any token source.
//!
//! Say once where tokens come from, and put the layer around an HTTP client. Each request then carries a
//! valid `Authorization: Bearer` header. The cache refreshes the token ahead of its expiry, while requests
//! keep using the old one. If the server rejects a token, the layer fetches another one and sends the
//! request again.
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
//! - [`TokenSource`] fetches one token, once. [`source_fn`] makes a source from a function.
//! - [`TokenCache`] is the handle. All its clones share one token and at most one refresh in flight.
//! - [`BearerAuthLayer`] makes [`BearerAuth`] services for the origins that you allow.
//! - [`Error`] is the one run-time error. It says what happened and what to do.
//! - `oauth2`, behind the feature of that name, has sources for any OAuth 2.0 provider.
//! - [`clock`] and [`Builder::seed`] let a test control time and chance.
//!
//! # How it differs from its neighbours
//!
//! tower-http's `AddAuthorizationLayer` stamps a header that never changes. It is right for a token that
//! never expires.
//!
//! A hand-written `Mutex<Option<Token>>` refreshes the token, but every request waits for each refresh. If
//! the endpoint fails, each waiting caller calls it again.
//!
//! Here a request that finds a fresh token takes no lock. A refresh is one task, and all who wait share its
//! token or its error. The number of fetches that 401s can cause has a limit.
//!
//! # Cancel safety
//!
//! You can drop every future of this crate at any time. A refresh belongs to no caller: it continues, and
//! its token is cached.
//!
//! # Limits
//!
//! - The crate needs a tokio runtime, with or without a timer. Without a runtime, callers get a typed error.
//! - A source that asks its own cache gets a typed error, unless a task that it spawned asks.
//! - [`keep_warm`](TokenCache::keep_warm) stays on the runtime that it started on. If that runtime is no
//!   longer driven but not shut down, refreshes stop until somebody asks for a token.
//! - gRPC's `UNAUTHENTICATED` is recognized in the headers of a response, not in trailers after a body.
//! - A server may end an HTTP/2 connection after thousands of uploads that were taken back for a retry (too
//!   many resets). The limit on refreshes after rejections keeps retries far below that.
//! - A token's memory is wiped when its last clone is dropped. The buffers of a connection that copied it
//!   are not.

pub mod auth;
mod builder;
mod cache;
pub mod clock;
mod error;
mod foreign_text;
#[cfg(feature = "oauth2")]
pub mod oauth2;
mod observe;
mod refresh;
mod report;
mod shard;
mod source;
mod timer;
mod token;

pub use crate::{
    auth::{
        AuthOutcome, BearerAuth, BearerAuthLayer, InvalidOrigin, NotRetried, ReplayBody,
        RequestOptions,
    },
    builder::Builder,
    cache::TokenCache,
    error::{BoxError, Error, Kind, SourceError},
    foreign_text::ForeignText,
    observe::{Counts, Event, Outcome, Phase, Reason, Refreshes, Status, Subscription},
    refresh::Acquire,
    report::Report,
    source::{FetchContext, SourceFn, TokenSource, source_fn},
    token::{InvalidToken, Token},
};

/// The crate's README, so that its example is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
