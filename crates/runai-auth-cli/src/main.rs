//! `runai-auth`: prints tokens, checks a set-up, and adds tokens to the requests of programs that are not Rust.
//!
//! A thin shell over the library of that name: `flags` describes the command line and `arguments` reads it, `connect` turns it into a control
//! plane and credentials, and each command has its own file or folder.

mod arguments;
mod check;
mod claims;
mod clock;
mod connect;
mod escape;
mod exec;
mod failure;
mod flags;
mod health;
mod log;
mod print;
mod proxy;
mod token;

use std::{io::Write as _, process::ExitCode};

use crate::{
    failure::Failure,
    flags::{Arguments, Command},
};

fn main() -> ExitCode {
    match arguments::read().and_then(run) {
        Ok(code) => code,
        Err(failure) => {
            // If the standard error is closed, the exit code still tells.
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
