//! The program as people and other programs run it, against the fake control plane.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod check;
mod errors;
mod support;
mod token;
