//! The flags of every command: what is logged, on the standard error.

use clap::{Args, ValueEnum};

/// What is logged, and how.
#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// Log more: what happens (-v), why (-vv), everything of ours (-vvv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// The format of log lines
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value = "text",
        env = "RUNAI_AUTH_LOG_FORMAT"
    )]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}
