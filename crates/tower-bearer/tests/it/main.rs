//! The engine and the layer against a source and a clock that the tests hold in their hands.
//!
//! A test that begins with a case's name (`a01_`, `d03_`) proves that case of the promises.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]
mod api;
mod bounds;
mod challenges;
mod clocks;
mod cold;
mod engine;
mod evidence;
mod held;
mod interleavings;
#[cfg(feature = "metrics")]
mod measures;
mod middleware;
mod options;
mod readiness;
mod redirects;
mod refresh;
mod rejection;
mod retry;
mod runtimes;
mod support;
mod telemetry;
mod timers;
