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
//! - [`RefreshTokens`] keeps a refresh token that is rotated at each use, with a
//!   [`RefreshTokenStore`] of yours.
//! - [`TokenRequest`], [`Transport`] and [`Answer`] are what it is made of, for a source whose wire
//!   format is its own.
//!
//! How it differs from the crate `oauth2`: that one walks a person through a login and knows each
//! extension's types; this one keeps a daemon supplied with tokens.
//!
//! # Cancel safety
//!
//! A fetch can be dropped at any time. One that redeems a refresh token goes on by itself until its
//! time-out, so that the token that comes back is not lost.

mod answer;
mod client;
mod discovery;
mod jwt;
mod refresh;
mod request;
mod secret;
mod source;
mod transport;
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
    transport::{Transport, TransportError},
};
