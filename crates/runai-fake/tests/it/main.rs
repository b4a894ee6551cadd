//! The fake over real sockets, with somebody else's client.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod behaviours;
#[cfg(feature = "cli")]
mod binary;
mod client;
mod controls;
mod endpoint_versions;
mod faults;
mod journal;
mod keycloak;
mod login;
mod people;
mod sessions;
mod tokens;
