//! The flags of `token`.

use std::time::Duration;

use clap::{Args, ValueEnum, builder::BoolishValueParser};

use super::{connect::ConnectArgs, values::duration};

/// Which token `token` prints, and how.
#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// What to print: the token, a header line for `curl -H @-`, or JSON
    #[arg(
        short,
        long,
        value_enum,
        default_value = "plain",
        env = "RUNAI_AUTH_OUTPUT"
    )]
    pub(crate) output: TokenOutput,
    /// The least time that the token must have left
    #[arg(long, value_name = "TIME", value_parser = duration, env = "RUNAI_AUTH_MIN_TTL")]
    pub(crate) min_ttl: Option<Duration>,
    /// Fetch a new token, even if a login holds one
    #[arg(long, value_parser = BoolishValueParser::new(), env = "RUNAI_AUTH_REFRESH")]
    pub(crate) refresh: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenOutput {
    /// The token and one newline
    #[value(alias = "plaintext")]
    Plain,
    /// `Authorization: Bearer …`
    Header,
    /// The token, its expiry, and its owner
    Json,
}
