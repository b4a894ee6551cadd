//! What can be asked for on the command line. Each flag but the loud one also reads a variable.

use std::{convert::Infallible, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

// The build script takes this file too, and would look for the other beside it.
#[path = "args/service.rs"]
mod service;

pub(crate) use self::service::{ExecArgs, HealthArgs, ProxyArgs, RuleArgs};

const AFTER: &str = "\
Exit codes:
  0  it went well
  1  something else went wrong
  2  the command line or the environment is wrong
  3  refused: a person must do something (a wrong secret, an ended login)
  4  out of reach: try again later (no network, an outage)

Secrets are never values of flags, since those show in the list of processes: give a file, `-` for \
the standard input, or a variable. An empty variable counts as none.

Unofficial: not affiliated with, endorsed or supported by NVIDIA; NVIDIA and Run:ai are trademarks \
of NVIDIA Corporation, named only to say what this works with.";

/// Tokens for NVIDIA Run:ai: print one, check a set-up, stamp the requests of other programs
#[derive(Debug, Parser)]
#[command(name = "runai-auth", version, after_help = AFTER, subcommand_required = true, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
pub(crate) enum Command {
    /// Print a token
    Token(TokenArgs),
    /// Find out what is wrong: the URL, the network, the credentials, the access rule
    Check(CheckArgs),
    /// Serve the control plane on this machine, to programs that have no token
    Proxy(ProxyArgs),
    /// Run a command with a proxy of its own: `runai-auth exec -- python job.py`
    Exec(ExecArgs),
    /// Ask a proxy whether it is ready: 0 if it is, 1 if not
    Health(HealthArgs),
}

/// What is logged, to the standard error.
#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// Log more: what happens (-v), why (-vv), everything (-vvv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How log lines look
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

/// Which control plane, who asks, and how the network is reached: the same for every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConnectArgs {
    /// The control plane's URL: https://acme.run.ai
    #[arg(
        long,
        value_name = "URL",
        env = "RUNAI_BASE_URL",
        help_heading = "Control plane"
    )]
    pub(crate) base_url: Option<String>,
    /// Which form of token endpoint it has
    #[arg(
        long,
        value_name = "FORM",
        value_enum,
        default_value = "auto",
        env = "RUNAI_AUTH_TOKEN_ENDPOINT",
        help_heading = "Control plane"
    )]
    pub(crate) token_endpoint: EndpointChoice,
    /// Keycloak's realm [default: the tenant's name for TENANT.run.ai, else runai]
    #[arg(
        long,
        value_name = "NAME",
        env = "RUNAI_AUTH_REALM",
        help_heading = "Control plane"
    )]
    pub(crate) realm: Option<String>,

    /// How to get a token [default: application where an id and a secret are given, else discover]
    #[arg(
        long,
        value_enum,
        env = "RUNAI_AUTH_METHOD",
        help_heading = "Credentials"
    )]
    pub(crate) method: Option<Method>,
    /// The application's name, or the client id of a service account or an access key.
    /// RUNAI_CLIENT_ID_FILE may name a file with it
    #[arg(
        long,
        value_name = "ID",
        env = "RUNAI_CLIENT_ID",
        help_heading = "Credentials"
    )]
    pub(crate) client_id: Option<String>,
    /// A file with the secret key, which may be rotated; `-` is the standard input. RUNAI_CLIENT_SECRET may
    /// hold the secret itself
    #[arg(long, value_name = "FILE", value_parser = path,
        env = "RUNAI_CLIENT_SECRET_FILE",
        help_heading = "Credentials"
    )]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// A person's email, for the method `password`
    #[arg(
        long,
        value_name = "EMAIL",
        env = "RUNAI_AUTH_USERNAME",
        help_heading = "Credentials"
    )]
    pub(crate) username: Option<String>,
    /// A file with the password; `-` is the standard input
    #[arg(long, value_name = "FILE", value_parser = path,
        env = "RUNAI_AUTH_PASSWORD_FILE",
        help_heading = "Credentials"
    )]
    pub(crate) password_file: Option<PathBuf>,
    /// A file with a token that somebody else keeps fresh
    #[arg(long, value_name = "FILE", value_parser = path,
        env = "RUNAI_AUTH_TOKEN_FILE",
        help_heading = "Credentials"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// A kubeconfig [default: KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE", value_parser = path,
        env = "RUNAI_AUTH_KUBECONFIG",
        help_heading = "Credentials"
    )]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context [default: the current one]
    #[arg(
        long,
        value_name = "NAME",
        env = "RUNAI_AUTH_CONTEXT",
        help_heading = "Credentials"
    )]
    pub(crate) context: Option<String>,

    /// Certificates to trust beside the system's, in PEM: a private CA
    #[arg(long, value_name = "FILE", value_parser = path,
        env = "RUNAI_AUTH_CA_FILE",
        help_heading = "Network"
    )]
    pub(crate) ca_file: Option<PathBuf>,
    /// A client certificate with its chain, in PEM
    #[arg(long, value_name = "FILE", value_parser = path,
        requires = "client_key",
        env = "RUNAI_AUTH_CLIENT_CERT",
        help_heading = "Network"
    )]
    pub(crate) client_cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", value_parser = path,
        requires = "client_cert",
        env = "RUNAI_AUTH_CLIENT_KEY",
        help_heading = "Network"
    )]
    pub(crate) client_key: Option<PathBuf>,
    /// Take any certificate: anybody on the way can then read the secret and the token
    #[arg(long, help_heading = "Network")]
    pub(crate) insecure_skip_tls_verify: bool,
    /// How long one attempt to get a token may take
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s", env = "RUNAI_AUTH_TIMEOUT", help_heading = "Network")]
    pub(crate) timeout: Duration,
}

impl ConnectArgs {
    /// The same without what is empty: scripts set variables to nothing where they mean none.
    pub(crate) fn without_empty(mut self) -> Self {
        let texts = [
            &mut self.base_url,
            &mut self.realm,
            &mut self.client_id,
            &mut self.username,
            &mut self.context,
        ];
        for text in texts {
            text.take_if(|text| text.trim().is_empty());
        }
        let paths = [
            &mut self.client_secret_file,
            &mut self.password_file,
            &mut self.token_file,
            &mut self.kubeconfig,
            &mut self.ca_file,
            &mut self.client_cert,
            &mut self.client_key,
        ];
        for path in paths {
            path.take_if(|path| path.as_os_str().is_empty());
        }
        self
    }
}

/// A path, which may be empty.
fn path(text: &str) -> Result<PathBuf, Infallible> {
    Ok(text.into())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EndpointChoice {
    /// Found out
    Auto,
    /// /api/v1/token
    V1,
    /// /api/v2/token
    V2,
    /// Keycloak's own
    Keycloak,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// An application's name and secret key
    Application,
    /// The same, by its name since 2.24
    ServiceAccount,
    /// A person's email and password: only where nothing else is to be had
    Password,
    /// The login of the Run:ai CLI, version 2
    Cli,
    /// The login of a Kubernetes profile
    Kubeconfig,
    /// A token in a file
    TokenFile,
    /// What is found first: the environment, mounted files, the CLI's login, the kubeconfig
    Discover,
}

/// What `token` prints.
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
    /// Get another token than the one that a login already holds
    #[arg(long, value_parser = service::switch, env = "RUNAI_AUTH_REFRESH")]
    pub(crate) refresh: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenOutput {
    /// The token and one newline
    #[value(alias = "plaintext")]
    Plain,
    /// `Authorization: Bearer …`
    Header,
    /// The token, when it ends, and whose it is
    Json,
}

/// What `check` looks at.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// How to tell what was found
    #[arg(
        short,
        long,
        value_enum,
        default_value = "text",
        env = "RUNAI_AUTH_OUTPUT"
    )]
    pub(crate) output: CheckOutput,
    /// The call that the token is tried on
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

/// A time like `90s`, `10m`, `1h30m`, `500ms`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: write it like 90s, 10m or 1h30m");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u32 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let each = match &rest[..unit] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(24 * 3600),
            _ => return Err(wrong()),
        };
        total = total.saturating_add(each.saturating_mul(number));
        rest = &rest[unit..];
    }
    match text.is_empty() {
        true => Err(wrong()),
        false => Ok(total),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_are_read() {
        for (text, millis) in [
            ("90", 90_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("0s", 0),
        ] {
            assert_eq!(duration(text).unwrap().as_millis(), millis, "{text}");
        }
        for text in ["", "m", "10x", "1.5h", "-1s", "10m5", "99999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
