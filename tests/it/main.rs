//! The whole system over real sockets: the layer on the default client, against the fake control plane.
//!
//! Time is a clock that the tests move, and requests are held at gates, so nothing sleeps. Plain URLs are
//! spoken to with HTTP/1.1, TLS ones with HTTP/2. A test that begins with a case's name (`a01_`, `d03_`)
//! proves that case of the promises.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod bodies;
mod cold;
mod connections;
mod credentials;
mod endpoints;
mod faults;
mod house;
mod login;
mod network;
mod oauth2;
mod redirects;
mod refresh;
mod rejection;
mod security;
mod streams;
mod support;
