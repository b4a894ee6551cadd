//! The flags of `proxy`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, builder::BoolishValueParser};

use super::{connect::ConnectArgs, rules::RuleArgs, values::duration};

const AFTER: &str = "\
When it is ready, it prints one line of JSON on the standard output, for example
  {\"listening\":\"http://127.0.0.1:8080\"}

On SIGTERM and SIGINT it finishes the requests in flight, for at most --grace, and exits with 0; a second signal
ends it at once. On SIGHUP it fetches a new token, with the secret that the file holds now.

Example:
  runai-auth proxy --listen 127.0.0.1:8080 &
  curl http://127.0.0.1:8080/api/v1/clusters";

/// Where the proxy listens, and who may call it.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct ProxyArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// Where to listen: unix:PATH, or 127.0.0.1:PORT; port 0 picks a free one
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
    /// Where to serve only /livez, /readyz and /metrics, for probes from other machines
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "RUNAI_AUTH_HEALTH_LISTEN",
        help_heading = "Proxy"
    )]
    pub(crate) health_listen: Option<String>,
    /// A file with a key that callers must send: as `Authorization: Bearer KEY`, as `X-Runai-Auth-Key: KEY`,
    /// or as the first segment of the path. The file may be rotated
    #[arg(
        long,
        value_name = "FILE",
        env = "RUNAI_AUTH_INBOUND_KEY_FILE",
        help_heading = "Proxy"
    )]
    pub(crate) inbound_key_file: Option<PathBuf>,
    /// Another NAME or NAME:PORT to accept as a request's Host
    #[arg(
        long,
        value_name = "HOST",
        value_delimiter = ',',
        env = "RUNAI_AUTH_ALLOW_HOST",
        help_heading = "Proxy"
    )]
    pub(crate) allow_host: Vec<String>,
    /// Listen on an address that other machines can reach; needs --inbound-key-file
    #[arg(long, value_parser = BoolishValueParser::new(), env = "RUNAI_AUTH_ALLOW_REMOTE", help_heading = "Proxy")]
    pub(crate) allow_remote: bool,
    /// How long requests in flight may take after SIGTERM
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s", env = "RUNAI_AUTH_GRACE", help_heading = "Limits")]
    pub(crate) grace: Duration,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
}
