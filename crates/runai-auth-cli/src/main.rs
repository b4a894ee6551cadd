//! `runai-auth`: prints tokens, checks a set-up, and stamps the requests of programs that are not Rust.
//!
//! A thin shell over the crate of that name. `args` says what can be asked for, `connect` makes
//! credentials of it, and each command has a file of its own.

mod args;
mod check;
mod connect;
mod exec;
mod failure;
mod health;
mod log;
mod proxy;
mod token;

use std::{io::Write as _, process::ExitCode};

use clap::Parser;

use crate::{
    args::{Arguments, Command},
    failure::Failure,
};

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(failure) => {
            // If even that cannot be written the exit code is all there is to say.
            let _written = write!(std::io::stderr(), "{failure}");
            failure.code()
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let is_service = !matches!(arguments.command, Command::Token(_) | Command::Check(_));
    log::start(&arguments.log, is_service)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    runtime.block_on(async {
        match arguments.command {
            Command::Token(wanted) => token::run(&wanted).await,
            Command::Check(wanted) => check::run(&wanted).await,
            Command::Proxy(wanted) => proxy::run(&wanted).await,
            Command::Exec(wanted) => exec::run(&wanted).await,
            Command::Health(wanted) => health::run(&wanted).await,
        }
    })
}
