//! Authentication to NVIDIA Run:ai for hyper, tower, axum and tonic.
//!
//! Unofficial: not affiliated with, endorsed or supported by NVIDIA. NVIDIA and Run:ai are trademarks of NVIDIA
//! Corporation, named here only to say what this crate works with.
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
//! - [`Auth::from_env`] takes all three from the environment, and [`Auth::discover`] also searches files.
//! - [`Credentials`] lists every kind of credentials, and [`Secret`] every place for a secret that may change.
//! - [`ControlPlane`] holds the settings of the network.
//! - [`Auth::layer`] adds the token to any other HTTP client that is a tower service.
//! - [`Error`] is what fails at run time, and [`Kind`] says why. [`SetupError`] is what fails before.
//!
//! [`tower_bearer`] explains what the token's cache does at expiry and on a 401, and its
//! [`auth`](tower_bearer::auth) module how to wrap a service with one fixed body type.
//!
//! # Features
//!
//! - `user-login`: a person's email and password, and login with a browser.
//! - `metrics`: counters and histograms through the `metrics` facade.
//!
//! # Cancel safety
//!
//! Every future here can be dropped at any time. A token that was already requested is cached nevertheless.
//!
//! # Limits
//!
//! - A program that prints a secret is ended with the fetch, which has 10 s, or after five minutes.
//! - Tested against NVIDIA's documents, its SDK and a fake, but not yet against a live control plane.

mod auth;
#[cfg(feature = "user-login")]
mod browser;
mod control_plane;
mod credentials;
mod error;
mod exchange;
mod files;
mod find;
mod kubeconfig;
mod network;
mod secret;
mod source;

pub use tower_bearer::{
    self, AuthOutcome, BearerAuth, BearerAuthLayer, BoxError, Error, Kind, NotRetried, ReplayBody,
    RequestOptions, Status, Token, TokenCache,
    oauth2::{RefreshTokenStore, RefreshTokens, SecretText},
};

#[cfg(feature = "user-login")]
pub use crate::browser::{BrowserLogin, LoginError, LoginErrorKind, PendingLogin};
pub use crate::{
    auth::{Auth, Client, ResponseBody},
    control_plane::ControlPlane,
    credentials::{
        CliCredentials, ClientCredentials, Credentials, KubeconfigCredentials, UserCredentials,
    },
    error::{SetupError, SetupErrorKind},
    exchange::{ClientGrant, TokenEndpoint},
    files::{FileError, FileErrorKind, SecretFile},
    network::{Connection, HttpClient, HttpError, HttpResponseFuture},
    secret::Secret,
    source::ControlPlaneSource,
};
