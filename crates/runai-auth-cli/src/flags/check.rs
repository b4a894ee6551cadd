//! The flags of `check`.

use clap::{Args, ValueEnum};

use super::connect::ConnectArgs;

/// What `check` calls, and how it reports.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// The format of the report
    #[arg(
        short,
        long,
        value_enum,
        default_value = "text",
        env = "RUNAI_AUTH_OUTPUT"
    )]
    pub(crate) output: CheckOutput,
    /// The API call that the token is tried on
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/api/v1/authorization/me/access-rules",
        env = "RUNAI_AUTH_PROBE"
    )]
    pub(crate) probe: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckOutput {
    /// A line for each step
    Text,
    /// One JSON object
    Json,
}
