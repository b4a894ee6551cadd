//! The middleware: stamps a bearer token onto requests, and retries a request whose token was rejected.
//!
//! | the token is | what happens |
//! | --- | --- |
//! | fresh | the request is stamped and sent; no lock is taken |
//! | due | the same, and a refresh starts in the background |
//! | missing or expired | the request waits for a refresh, without holding capacity of the inner service |
//! | rejected by the server | exactly the token that was sent is marked as rejected, and the request is sent once more with another one |
//! | rejected a second time | the second response reaches the caller unchanged |
//!
//! A request with an `Authorization` header of its own keeps it, and its 401 rejects nothing, unless the layer
//! [overwrites](BearerAuthLayer::overwrite_authorization) the header. A request to an origin that is not allowed
//! is not sent: it is an error that names the origin. So is one whose `Host` header names another host than its URI,
//! because a server or a proxy on the way may go by either.
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
//! | the same in trailers after a body | no: the caller already has the body |
//! | a response that [`BearerAuthLayer::reject_when`] accepts as a rejection | yes |
//!
//! # Bodies
//!
//! A retry needs the request's body again. [`ReplayBody`] keeps up to 64 KiB of it while it is sent
//! ([`BearerAuthLayer::replay_limit`]). If the rejection arrives before the body was sent whole, the retry goes
//! on where the first attempt stopped. A larger body is not sent again, but its rejection still refreshes the
//! token, so the next request succeeds.
//!
//! # What is held
//!
//! While a request waits for a token, it holds no capacity of the inner service. But after a rejection it holds the
//! first response, which is the answer if there is no other token, until there is one. With a client over sockets
//! that response's body, which nobody has read, occupies a connection (HTTP/1.1) or a part of the connection's window
//! (HTTP/2). If hundreds of requests wait so, the retries may get no connection, and neither may the refresh itself
//! if it uses the same client. So put [`ReadRejections`] around such a client: it reads these bodies to their ends
//! first. The adapters of this project do. If that does not help, because the response holds something else,
//! [`drop_rejected_responses`](BearerAuthLayer::drop_rejected_responses) lets go of it at once.
//!
//! When there is another token, the inner service is asked whether it is ready. If it is not, the first response is
//! dropped, because the service may need what the response holds. If the service fails, the first response is the
//! answer, and its [`AuthOutcome`] has the reason.
//!
//! # What the caller sees
//!
//! After a rejection the response's extensions hold an [`AuthOutcome`]. A request changes what the layer does
//! with [`RequestOptions`] in its own extensions: a token that lasts longer, no token, no retry, another cache.
//!
//! # Redirects
//!
//! Let [`BearerAuthLayer::with_redirects`] put a layer that follows redirects around this one. Then each hop passes
//! this layer. A hop to another origin is an error, or is sent without the token
//! ([`BearerAuthLayer::pass_other_origins`]). What the request asked for counts on every hop: its
//! [`RequestOptions`], and that it had an `Authorization` header of its own. A hop that lost that header gets no
//! token instead.
//!
//! ```
//! use tower_bearer::{BearerAuthLayer, TokenCache};
//! use tower_http::follow_redirect::FollowRedirectLayer;
//!
//! # fn example<S: Clone>(cache: TokenCache, client: S) -> Result<(), tower_bearer::InvalidOrigin> {
//! let service = tower::ServiceBuilder::new()
//!     .layer(BearerAuthLayer::new(cache).allow("https://api.example")?.with_redirects(FollowRedirectLayer::new()))
//!     .service(client);
//! # drop(service);
//! # Ok(())
//! # }
//! ```
//!
//! Do not put such a layer around this one by other means if requests have options, or headers of their own. It
//! makes each further request by itself, and leaves out what it does not know: tower-http drops all extensions (0.6
//! always, 0.7 when the origin changes) and the `Authorization` header. This layer cannot tell such a hop from a
//! request that never asked for anything, and would stamp its own token onto it.
//!
//! A client inside the layer that follows redirects must leave the token behind when the origin changes.
//! [`BearerAuthLayer::final_uri`] tells the layer where a response came from, so that a 401 from elsewhere rejects
//! no token. If such a client returns to the first origin without the token, the layer cannot see that the token
//! is missing.
//!
//! # Inner services with one body type
//!
//! [`BearerAuth`] hands [`ReplayBody<B>`] to the inner service. A service that is generic over its body
//! (hyper-util's client) accepts it; if it wants a body that is `Unpin`, the caller's must be. A service with a
//! single body type needs a line that maps the body back. With tonic's channel:
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
//! With a client over axum's body:
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

mod attach;
mod attempt;
mod challenge;
mod future;
mod head;
mod hops;
mod host;
mod layer;
mod options;
mod origin;
mod origins;
mod outcome;
mod read_ahead;
mod record;
mod redirects;
mod rejection;
mod replay;
mod service;
mod turn;

pub use self::{
    future::ResponseFuture,
    layer::BearerAuthLayer,
    options::RequestOptions,
    origin::{InvalidOrigin, Origin},
    outcome::{AuthOutcome, NotRetried},
    read_ahead::{ReadAhead, ReadRejections, ReadRejectionsFuture, Reading},
    redirects::{Redirects, RedirectsFuture, RedirectsLayer},
    replay::{NotReplayable, ReplayBody},
    service::BearerAuth,
};
