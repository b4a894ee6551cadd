//! Credentials: one file for each kind.
//!
//! Each kind implements `Credential`, and adds its constructor to `Credentials` in its own file.

mod cli;
mod client;
mod credential;
mod external;
mod files;
mod given_token;
mod kube;
mod stored_login;
mod unreadable;
mod user;

pub use self::{
    cli::CliCredentials, client::ClientCredentials, credential::Credentials,
    kube::KubeconfigCredentials, user::UserCredentials,
};
pub(crate) use self::{cli::CliFiles, files::present, kube::current_oidc};
