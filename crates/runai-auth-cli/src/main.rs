//! `runai-auth`: prints tokens, checks a set-up, and adds tokens to the requests of programs that are not Rust.
//!
//! A thin shell over the library of that name: `flags` reads the command line, `connect` turns it into a control
//! plane and credentials, and each command has its own file or folder.

mod check;
mod claims;
mod clock;
mod connect;
mod exec;
mod failure;
mod flags;
mod health;
mod log;
mod print;
mod proxy;
mod token;

use std::{env, io::Write as _, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::{
    failure::Failure,
    flags::{Arguments, Command},
};

fn main() -> ExitCode {
    match run(arguments()) {
        Ok(code) => code,
        Err(failure) => {
            // If the standard error is closed, the exit code still tells.
            let _written = write!(std::io::stderr(), "{failure}");
            failure.code()
        }
    }
}

fn arguments() -> Arguments {
    let mut command = without_empty_variables(Arguments::command());
    let matches = command.get_matches_mut();
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// Ignores empty variables, because scripts set a variable to nothing to unset it and clap takes that for a value.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| {
        let value = arg.get_env().and_then(env::var_os);
        value.is_some_and(|value| value.is_empty())
    };
    command
        .mut_args(|arg| match is_empty(&arg) {
            true => arg.env(None),
            false => arg,
        })
        .mut_subcommands(without_empty_variables)
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
