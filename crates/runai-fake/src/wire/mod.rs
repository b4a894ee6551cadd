//! What is spoken on the wire: each version of the token endpoint, and a small part of the API.

pub(crate) mod api;
pub(crate) mod keycloak;
mod oauth2;
pub(crate) mod secret_fields;
pub(crate) mod v1;
pub(crate) mod v2;
