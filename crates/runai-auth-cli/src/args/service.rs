//! The flags of `proxy`, `exec` and `health`. Each also reads `RUNAI_AUTH_` and its name.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Args;

use super::{ConnectArgs, duration};

const PROXY_AFTER: &str = "\
When it is ready it prints one line of JSON on the standard output, like
  {\"listening\":\"http://127.0.0.1:8080\"}

On SIGTERM and SIGINT it finishes the requests in flight, up to --grace, and exits with 0; a second signal
ends it at once. On SIGHUP it gets another token, with the secret that its file holds now.

Example:
  runai-auth proxy --listen 127.0.0.1:8080 &
  curl http://127.0.0.1:8080/api/v1/clusters";

const EXEC_AFTER: &str = "\
The command finds RUNAI_BASE_URL, RUNAI_CLIENT_ID and RUNAI_CLIENT_SECRET in its environment: the URL is the
proxy's, with a key in its path, and the other two are placeholders that open nothing. Its exit code is the
command's own, 128+N if signal N ended it, 127 if there is no such command, 126 if it cannot be run.

Example:
  runai-auth exec -- python job.py";

/// What `proxy` is told.
#[derive(Args, Debug)]
#[command(after_help = PROXY_AFTER)]
pub(crate) struct ProxyArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// Where to listen: unix:PATH, or 127.0.0.1:PORT, where 0 is any free port
    /// [default: unix:$XDG_RUNTIME_DIR/runai-auth.sock]
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "RUNAI_AUTH_LISTEN",
        help_heading = "Proxy"
    )]
    pub(crate) listen: Option<String>,
    /// Where to serve /livez, /readyz, /metrics and POST /refresh, on this machine only
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "RUNAI_AUTH_ADMIN_LISTEN",
        help_heading = "Proxy"
    )]
    pub(crate) admin_listen: Option<String>,
    /// Where to serve /livez, /readyz and /metrics alone, for probes from other machines
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "RUNAI_AUTH_HEALTH_LISTEN",
        help_heading = "Proxy"
    )]
    pub(crate) health_listen: Option<String>,
    /// A file with a key that callers must show: `Authorization: Bearer KEY`, `X-Runai-Auth-Key: KEY`, or
    /// as the first segment of the path. It may be rotated
    #[arg(
        long,
        value_name = "FILE",
        env = "RUNAI_AUTH_INBOUND_KEY_FILE",
        help_heading = "Proxy"
    )]
    pub(crate) inbound_key_file: Option<PathBuf>,
    /// Another NAME or NAME:PORT that a request's Host may be
    #[arg(
        long,
        value_name = "HOST",
        value_delimiter = ',',
        env = "RUNAI_AUTH_ALLOW_HOST",
        help_heading = "Proxy"
    )]
    pub(crate) allow_host: Vec<String>,
    /// Listen on an address that other machines reach; there must be an inbound key
    #[arg(long, value_parser = switch, env = "RUNAI_AUTH_ALLOW_REMOTE", help_heading = "Proxy")]
    pub(crate) allow_remote: bool,
    /// How long requests in flight may take after SIGTERM
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s", env = "RUNAI_AUTH_GRACE", help_heading = "Limits")]
    pub(crate) grace: Duration,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
}

/// What `exec` is told.
#[derive(Args, Debug)]
#[command(after_help = EXEC_AFTER)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// The command and its arguments, after `--`
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// What requests may be, and how many.
#[derive(Args, Debug)]
pub(crate) struct RuleArgs {
    /// Refuse all methods but GET, HEAD and OPTIONS
    #[arg(long, value_parser = switch, env = "RUNAI_AUTH_READ_ONLY", help_heading = "Rules")]
    pub(crate) read_only: bool,
    /// Serve only paths that begin with this: whole segments, `*` for any one. May be repeated
    #[arg(
        long,
        value_name = "PATH",
        value_delimiter = ',',
        env = "RUNAI_AUTH_ALLOW_PATH",
        help_heading = "Rules"
    )]
    pub(crate) allow_path: Vec<String>,
    /// Refuse paths that begin with this, allowed or not. May be repeated
    #[arg(
        long,
        value_name = "PATH",
        value_delimiter = ',',
        env = "RUNAI_AUTH_DENY_PATH",
        help_heading = "Rules"
    )]
    pub(crate) deny_path: Vec<String>,
    /// The methods to serve, with commas between
    #[arg(
        long,
        value_name = "METHODS",
        value_delimiter = ',',
        env = "RUNAI_AUTH_METHODS",
        help_heading = "Rules"
    )]
    pub(crate) methods: Vec<String>,
    /// How many requests may be in flight at once
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "256",
        env = "RUNAI_AUTH_MAX_REQUESTS",
        help_heading = "Limits"
    )]
    pub(crate) max_requests: usize,
    /// How large a request's head may be
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "65536",
        value_parser = clap::value_parser!(u32).range(8192..=16_777_216),
        env = "RUNAI_AUTH_MAX_HEADER_BYTES",
        help_heading = "Limits"
    )]
    pub(crate) max_header_bytes: u32,
    /// How much of a body is kept to send it again when the token was rejected meanwhile
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "65536",
        env = "RUNAI_AUTH_REPLAY_LIMIT",
        help_heading = "Limits"
    )]
    pub(crate) replay_limit: usize,
    /// How long a connection may be without a request
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "90s", env = "RUNAI_AUTH_IDLE_TIMEOUT", help_heading = "Limits")]
    pub(crate) idle_timeout: Duration,
    /// How long a request's head may take from its first byte
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s", env = "RUNAI_AUTH_HEADER_TIMEOUT", help_heading = "Limits")]
    pub(crate) header_timeout: Duration,
    /// Get no token before it is needed
    #[arg(long, value_parser = switch, env = "RUNAI_AUTH_LAZY", help_heading = "Rules")]
    pub(crate) lazy: bool,
}

/// What `health` is told.
#[derive(Args, Debug)]
pub(crate) struct HealthArgs {
    /// The proxy's --health-listen or --admin-listen address: http://127.0.0.1:PORT
    #[arg(long, value_name = "URL", env = "RUNAI_AUTH_HEALTH_URL")]
    pub(crate) url: Option<String>,
}

/// A flag's variable: `1`, `true`, `yes` and `on`, or `0`, `false`, `no`, `off` and nothing.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("write true or false".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_on_or_off_and_nothing_else() {
        for text in ["1", "true", "YES", "on"] {
            assert_eq!(switch(text), Ok(true), "{text}");
        }
        for text in ["", "0", "False", "no", "off"] {
            assert_eq!(switch(text), Ok(false), "{text}");
        }
        assert!(switch("flase").is_err());
    }
}
