//! The commands.

use clap::{Parser, Subcommand};

use super::{
    check::CheckArgs, exec::ExecArgs, health::HealthArgs, log::LogArgs, proxy::ProxyArgs,
    token::TokenArgs,
};

const AFTER: &str = "\
Exit codes:
  0  success
  1  any other error
  2  the command line or the environment is wrong
  3  refused: a person must act (a wrong secret, an expired login)
  4  unreachable: try again later (no network, an outage)

A secret is never the value of a flag, because the list of processes shows flags. Give a file, `-` for the \
standard input, or a variable. An empty variable counts as unset.

Unofficial: not affiliated with, endorsed or supported by NVIDIA; NVIDIA and Run:ai are trademarks \
of NVIDIA Corporation, named only to say what this works with.";

/// Tokens for NVIDIA Run:ai: print one, check a set-up, add one to the requests of other programs
#[derive(Debug, Parser)]
#[command(name = "runai-auth", version, after_help = AFTER, subcommand_required = true, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "a process has one")]
pub(crate) enum Command {
    /// Print a token
    Token(TokenArgs),
    /// Find out what is wrong: the URL, the network, the credentials, the access rule
    Check(CheckArgs),
    /// Forward requests from this machine to the control plane, and add the token to each
    Proxy(ProxyArgs),
    /// Run a command with its own proxy: `runai-auth exec -- python job.py`
    Exec(ExecArgs),
    /// Ask a proxy whether it is ready: exit code 0 if it is, 1 if not
    Health(HealthArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Arguments::command().debug_assert();
    }
}
