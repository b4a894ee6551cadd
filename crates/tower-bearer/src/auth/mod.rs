//! The middleware: stamps the token onto requests, and heals a rejected one.
//!
//! | | |
//! | --- | --- |
//! | a fresh token | is stamped without a lock |
//! | a due one | too, and its refresh begins |
//! | none | the request waits for a refresh; the inner service's capacity is given back meanwhile |
//! | the server rejects it | exactly the token that was sent is rejected, and the request is sent once more with another |
//! | the second answer is a rejection too | it reaches the caller as it is |
//! | the request has an `Authorization` of its own | it stays, and its 401 rejects nothing ([`BearerAuthLayer::overwrite_authorization`] takes it off) |
//! | its origin is not an allowed one | an error that names it, before anything is sent |
//!
//! # What rejects a token
//!
//! | response | rejects the token |
//! | --- | --- |
//! | 401 without a challenge, or without one of `Bearer` | yes |
//! | 401, `Bearer` without an error, or `error="invalid_token"` | yes |
//! | 401, `Bearer` with another error (`insufficient_scope`) | no: another token would not help (RFC 6750, section 3.1) |
//! | 403, 407 | no |
//! | 200, `grpc-status: 16` in the headers (a trailers-only response of gRPC) | yes |
//! | the same in trailers after a body | no: the body is with the caller already |
//! | what [`BearerAuthLayer::reject_when`] says | yes |
//!
//! # Bodies
//!
//! A retry needs the request's body again. [`ReplayBody`] keeps up to 64 KiB of it while it is sent
//! ([`BearerAuthLayer::replay_limit`]), and takes over where the first sending stopped if the rejection
//! comes before its end. A larger one is not sent again, but its rejection still refreshes the token, so the
//! next request succeeds.
//!
//! # What the caller sees
//!
//! What became of a rejection stands in the response's extensions, as a [`AuthOutcome`]. What one request
//! wants otherwise goes into its own, as [`RequestOptions`]: more time than is left, no token, no retry,
//! another cache.
//!
//! # Redirects
//!
//! Follow them outside of this layer: then each hop passes it, and one to another origin is an error, or
//! goes without the token ([`BearerAuthLayer::pass_other_origins`]). A client inside that follows them
//! must leave the token behind when the origin changes; [`BearerAuthLayer::final_uri`] tells the layer
//! where its response came from, so that a 401 from there rejects no token. One that returns to the first
//! origin after another, without the token, looks to the layer as if it had it.
//!
//! # Inner services with one body type
//!
//! [`BearerAuth`] hands [`ReplayBody<B>`] to the inner service. One that takes any body (hyper-util's
//! client is generic) takes this one too; where it wants a body that is `Unpin`, the caller's must be. One that takes a single type needs it mapped back, in one
//! line, with tonic's channel, say:
//!
//! ```
//! use http::Request;
//! use tonic::{body::Body, transport::Channel};
//! use tower_bearer::{BearerAuthLayer, ReplayBody, TokenCache};
//!
//! # fn example(cache: TokenCache, channel: Channel) -> Result<(), tower_bearer::InvalidOrigin> {
//! let layer = BearerAuthLayer::new(cache)
//!     .allow("https://grpc.example")?
//!     // Around a channel the layer sees a path only: the channel adds the rest inside.
//!     .assume_origin("https://grpc.example")?;
//! let service = tower::ServiceBuilder::new()
//!     .layer(layer)
//!     .map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new))
//!     .service(channel);
//! # fn grpc<S: tower_service::Service<Request<Body>> + Clone + Send>(_: S) {}
//! # grpc(service);
//! # Ok(())
//! # }
//! ```
//!
//! and with a client over axum's body:
//!
//! ```
//! use axum::body::Body;
//! use http::Request;
//! use hyper_util::client::legacy::{Client, connect::HttpConnector};
//! use tower_bearer::{BearerAuthLayer, ReplayBody, TokenCache};
//!
//! # fn example(cache: TokenCache, client: Client<HttpConnector, Body>) -> Result<(), tower_bearer::InvalidOrigin> {
//! let service = tower::ServiceBuilder::new()
//!     .layer(BearerAuthLayer::new(cache).allow("https://api.example")?)
//!     .map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new))
//!     .service(client);
//! # fn http<S: tower_service::Service<Request<Body>> + Clone + Send>(_: S) {}
//! # http(service);
//! # Ok(())
//! # }
//! ```

mod body;
mod challenge;
mod future;
mod head;
mod layer;
mod options;
mod origin;
mod outcome;
mod rejection;
mod service;

pub use self::{
    body::{NotReplayable, ReplayBody},
    future::ResponseFuture,
    layer::BearerAuthLayer,
    options::RequestOptions,
    origin::{InvalidOrigin, Origin},
    outcome::{AuthOutcome, NotRetried},
    service::BearerAuth,
};
