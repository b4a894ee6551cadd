//! The flags that `proxy` and `exec` share: what the proxy serves, and its limits.

use std::time::Duration;

use clap::{Args, builder::BoolishValueParser};

use super::values::duration;

/// Which requests the proxy serves, and how many.
#[derive(Args, Debug)]
pub(crate) struct RuleArgs {
    /// Serve GET, HEAD and OPTIONS only
    #[arg(long, value_parser = BoolishValueParser::new(), env = "RUNAI_AUTH_READ_ONLY", help_heading = "Rules")]
    pub(crate) read_only: bool,
    /// Serve only paths that begin with this: whole segments; `*` matches any one. Repeatable
    #[arg(
        long,
        value_name = "PATH",
        value_delimiter = ',',
        env = "RUNAI_AUTH_ALLOW_PATH",
        help_heading = "Rules"
    )]
    pub(crate) allow_path: Vec<String>,
    /// Refuse paths that begin with this, even if --allow-path allows them. Repeatable
    #[arg(
        long,
        value_name = "PATH",
        value_delimiter = ',',
        env = "RUNAI_AUTH_DENY_PATH",
        help_heading = "Rules"
    )]
    pub(crate) deny_path: Vec<String>,
    /// The methods to serve, separated by commas
    #[arg(
        long,
        value_name = "METHODS",
        value_delimiter = ',',
        env = "RUNAI_AUTH_METHODS",
        help_heading = "Rules"
    )]
    pub(crate) methods: Vec<String>,
    /// The most requests in flight at once
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "256",
        env = "RUNAI_AUTH_MAX_REQUESTS",
        help_heading = "Limits"
    )]
    pub(crate) max_requests: usize,
    /// The largest head of a request
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "65536",
        value_parser = clap::value_parser!(u32).range(8192..=16_777_216),
        env = "RUNAI_AUTH_MAX_HEADER_BYTES",
        help_heading = "Limits"
    )]
    pub(crate) max_header_bytes: u32,
    /// The largest body that is kept, to send it again with a new token after a rejection
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "65536",
        env = "RUNAI_AUTH_REPLAY_LIMIT",
        help_heading = "Limits"
    )]
    pub(crate) replay_limit: usize,
    /// How long a connection may stay open without a request
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "90s", env = "RUNAI_AUTH_IDLE_TIMEOUT", help_heading = "Limits")]
    pub(crate) idle_timeout: Duration,
    /// How long a request's head may take, from its first byte
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s", env = "RUNAI_AUTH_HEADER_TIMEOUT", help_heading = "Limits")]
    pub(crate) header_timeout: Duration,
    /// Fetch the first token when the first request needs it, not at the start
    #[arg(long, value_parser = BoolishValueParser::new(), env = "RUNAI_AUTH_LAZY", help_heading = "Rules")]
    pub(crate) lazy: bool,
}
