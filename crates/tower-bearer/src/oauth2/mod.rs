//! OAuth 2.0 (RFC 6749): tokens from any provider, over any tower HTTP service.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client as Hyper, rt::TokioExecutor};
//! use tower_bearer::{
//!     BearerAuthLayer, TokenCache,
//!     oauth2::{Client, Endpoint, OAuth2Source},
//! };
//!
//! # fn example() -> Result<(), tower_bearer::BoxError> {
//! // Take one that speaks TLS; it must not follow redirects.
//! let http = Hyper::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
//!
//! let source = OAuth2Source::client_credentials(
//!     http,
//!     Endpoint::discover("https://idp.example")?,
//!     Client::basic("ci-bot", "s3cr3t"),
//! )
//! .scope("things:read things:write");
//! let layer = BearerAuthLayer::new(TokenCache::new(source)).allow("https://api.example")?;
//! # drop(layer);
//! # Ok(())
//! # }
//! ```
//!
//! - [`OAuth2Source`] is the [`TokenSource`](crate::TokenSource): client credentials, or a refresh
//!   token.
//! - [`Endpoint`] is where tokens are asked for, configured or discovered; [`Client`] is who asks, and
//!   how that is proven.
//! - [`RefreshTokens`] redeems refresh tokens that the server rotates, and keeps them in your
//!   [`RefreshTokenStore`].
//! - [`TokenRequest`], [`Transport`] and [`Answer`] are its parts, for a source with another wire format.
//!
//! The crate `oauth2` has another purpose: it leads a person through a login and models each extension.
//! This module keeps a daemon supplied with tokens.
//!
//! # Cancel safety
//!
//! You can drop a fetch at any time. One that redeems a refresh token continues in the background until its
//! time-out, so that the new refresh token is not lost.

mod answer;
mod client;
mod discovery;
mod jwt;
mod refresh;
mod request;
mod secret;
mod source;
mod transport;
mod url;
mod wall;

pub use self::{
    answer::{Answer, AnswerError, Issued},
    client::{Client, ClientSecret},
    discovery::{Endpoint, Metadata},
    jwt::JwtTimes,
    refresh::{RefreshTokenStore, RefreshTokens},
    request::TokenRequest,
    secret::SecretText,
    source::OAuth2Source,
    transport::{BrokenExchange, Transport, TransportError},
    url::bare_url,
};
