//! `runai-auth proxy`: forwards plain HTTP requests to one control plane, and adds the token to each.
//!
//! `listen` accepts callers, `connection` serves one of them, `guard` lets a request in, `forward` sends it on and
//! returns the answer, and `admin` serves probes and metrics.

mod activity;
mod admin;
mod connection;
mod forward;
mod guard;
mod headers;
mod in_flight;
mod incoming;
mod key;
mod listen;
mod metrics;
mod outgoing;
mod path;
mod placeholder;
mod reason;
mod refusal;
mod run;
mod server;
mod setup;
mod signals;
mod stopping;
mod upgrade;

pub(crate) use self::{
    guard::Filter,
    key::Key,
    listen::Address,
    run::run,
    server::Server,
    setup::Setup,
    signals::{Signal, Signals},
};
