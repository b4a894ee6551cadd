//! The fake over real sockets, with somebody else's client.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod answers;
mod control;
mod misbehaviour;
mod support;
