//! The built `runai-auth` from outside: processes, sockets and signals.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod admin;
mod callers;
mod exec;
mod limits;
mod listening;
mod stopping;
mod streams;
mod support;
mod tokens;
mod upstream;
