//! Authentication to NVIDIA Run:ai for hyper, tower, axum and tonic.
//!
//! Unofficial: not affiliated with, endorsed or supported by NVIDIA; NVIDIA and Run:ai are trademarks of
//! NVIDIA Corporation, named only to say what this works with.
//!
//! ```no_run
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::Empty;
//! use runai_auth::{ControlPlane, Credentials};
//! use tower::ServiceExt;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), runai_auth::BoxError> {
//! let auth = ControlPlane::new("acme.run.ai")?
//!     .authenticate(Credentials::client("ci-bot", "the secret key"));
//! let api = auth.client()?;
//!
//! let request = Request::get(auth.url("/api/v1/clusters")?).body(Empty::<Bytes>::new())?;
//! let response = api.oneshot(request).await?;
//! println!("{}", response.status());
//! # Ok(())
//! # }
//! ```
//!
//! [`Auth::from_env`] takes all three from the environment, and [`Auth::discover`] looks further.
//! [`Credentials`] lists every way to hold a token, [`Secret`] the places of a secret that may change, and
//! [`ControlPlane`] how the network is reached. [`Auth::layer`] goes around any other HTTP client that is a
//! tower service. What the token's cache does at expiry and on a 401, and how a service with one fixed body
//! type is wrapped, is told in [`tower_bearer`] and its [`authorize`](tower_bearer::authorize) module.
//!
//! # Features
//!
//! - `user-login`: a person's email and password, and logging in with a browser.
//! - `metrics`: counts and measures through the `metrics` facade.
//!
//! # Cancel safety
//!
//! Every future here can be dropped at any time; a token that is on its way is cached nevertheless.
//!
//! # Limits
//!
//! - A program that is run for a secret ends with the fetch, which has 10 s, or after five minutes.
//! - Tested against NVIDIA's documents, its SDK and a fake; not yet against a live control plane.

mod auth;
mod client;
mod control_plane;
mod credentials;
mod discover;
mod endpoint;
mod env;
mod error;
mod exchange;
mod explain;
mod files;
mod grant;
mod kubeconfig;
#[cfg(feature = "user-login")]
mod login;
mod proxy;
mod secret;
mod source;
mod tls;

pub use tower_bearer::{
    self, AuthOutcome, BearerAuth, BearerAuthLayer, BoxError, NotRetried, ReplayBody,
    RequestOptions, Status, Token, TokenCache,
    oauth2::{RefreshTokenStore, RefreshTokens, SecretText},
};

#[cfg(feature = "user-login")]
pub use crate::login::{BrowserLogin, LoginError, LoginErrorKind, PendingLogin};
pub use crate::{
    auth::{Auth, Client},
    client::{Connection, HttpClient, HttpResponseFuture},
    control_plane::ControlPlane,
    credentials::{
        CliCredentials, ClientCredentials, ClientGrant, Credentials, KubeconfigCredentials,
        UserCredentials,
    },
    endpoint::TokenEndpoint,
    error::{Error, Kind},
    files::{FileError, FileErrorKind, SecretFile},
    secret::Secret,
    source::ControlPlaneSource,
};
