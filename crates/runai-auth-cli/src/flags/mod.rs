//! The command line: the commands, and the flags of each.
//!
//! Every flag also reads a variable, except `--verbose` and `--insecure-skip-tls-verify`. The build script
//! includes this folder to write the man pages and the completions, so nothing here imports from outside it.

mod check;
mod command;
mod connect;
mod exec;
mod health;
mod log;
mod proxy;
mod rules;
mod token;
mod values;

pub(crate) use self::{
    check::{CheckArgs, CheckOutput},
    command::{Arguments, Command},
    connect::{ConnectArgs, EndpointChoice, Method},
    exec::ExecArgs,
    health::HealthArgs,
    log::{LogArgs, LogFormat},
    proxy::ProxyArgs,
    rules::RuleArgs,
    token::{TokenArgs, TokenOutput},
};
