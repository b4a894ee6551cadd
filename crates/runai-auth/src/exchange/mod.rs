//! Token requests to a control plane: which endpoint they go to, what they send, and what their errors say.

mod endpoint;
mod explain;
mod grant;
mod issue;
mod secrets;

#[cfg(feature = "user-login")]
pub(crate) use self::endpoint::{EndpointVersion, issuer_path};
pub use self::{endpoint::TokenEndpoint, grant::ClientGrant};
pub(crate) use self::{
    explain::{Parties, Subject, explained, unusable},
    grant::Grant,
    issue::Exchange,
};
