//! What the control plane answers: a file for each version of the token endpoint, and one for the API.

pub(crate) mod api;
pub(crate) mod keycloak;
mod oauth2;
pub(crate) mod secret_fields;
pub(crate) mod v1;
pub(crate) mod v2;
