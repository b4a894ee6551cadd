//! The built `runai-auth` from outside: processes, sockets and signals, against the fake control plane.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod admin;
mod callers;
mod check;
mod command_line;
mod errors;
mod exec;
mod files;
mod h2_server;
mod hostile;
mod hostile_h2;
mod key_file;
mod limits;
mod listening;
mod stopping;
mod streams;
mod support;
mod token;
mod tokens;
mod upstream;
