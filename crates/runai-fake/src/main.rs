//! The program `runai-fake`: a control plane for tests in any language.

use std::{env, fs, io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use clap::{
    Parser,
    builder::{PossibleValuesParser, TypedValueParser},
};
use runai_fake::{EndpointVersion, RunaiFake, control};
use serde_json::json;

/// Runs a Run:ai control plane for tests, which can misbehave.
///
/// Prints one line of JSON with its URLs when it is ready. Ends on SIGINT or SIGTERM.
#[derive(Parser)]
#[command(
    version,
    after_help = "Unofficial: not affiliated with, endorsed or supported by NVIDIA; NVIDIA and Run:ai are \
                  trademarks of NVIDIA Corporation, named only to say what this works with."
)]
struct Arguments {
    /// Port of the control plane; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Port of the control interface; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    control_port: u16,
    /// Speak TLS, with a new CA
    #[arg(long)]
    tls: bool,
    /// Where to write the CA's certificate [default: a temporary file]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Application and its secret; can be repeated [default: test-app:test-secret]
    #[arg(long = "application", value_name = "ID:SECRET", value_parser = application)]
    applications: Vec<(String, String)>,
    /// User and their password; can be repeated [default: test-user:test-password]
    #[arg(long = "user", value_name = "NAME:PASSWORD", value_parser = user)]
    users: Vec<(String, String)>,
    /// External token, and the application or user whose token it is exchanged for; can be repeated
    #[arg(long = "external-token", value_name = "TOKEN:CLIENT", value_parser = external_token)]
    external_tokens: Vec<(String, String)>,
    /// Keycloak's realm
    #[arg(long, value_name = "NAME", default_value = "runai")]
    realm: String,
    /// Endpoint version that the control plane does not have: it answers 404; can be repeated
    #[arg(
        long = "without-endpoint-version",
        value_name = "VERSION",
        value_parser = endpoint_versions()
    )]
    without_endpoint_versions: Vec<EndpointVersion>,
    /// Lifetime of tokens
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    token_lifetime: u64,
    /// Send `expiresIn` in v1's answers, as version 2.24 and later do
    #[arg(long)]
    expires_in: bool,
}

fn endpoint_versions() -> impl TypedValueParser<Value = EndpointVersion> {
    let names = EndpointVersion::all().iter().map(|it| it.name());
    PossibleValuesParser::new(names)
        .try_map(|name| EndpointVersion::from_name(&name).ok_or("unknown endpoint version"))
}

fn application(text: &str) -> Result<(String, String), String> {
    halves(text.split_once(':'), "ID:SECRET")
}

fn user(text: &str) -> Result<(String, String), String> {
    halves(text.split_once(':'), "NAME:PASSWORD")
}

/// Splits at the last colon, because a token can have colons in it.
fn external_token(text: &str) -> Result<(String, String), String> {
    let halves_of = text
        .rsplit_once(':')
        .filter(|(_, client)| !client.is_empty());
    halves(halves_of, "TOKEN:CLIENT")
}

fn halves(halves: Option<(&str, &str)>, shape: &str) -> Result<(String, String), String> {
    halves
        .filter(|(first, _)| !first.is_empty())
        .map(|(first, second)| (first.to_owned(), second.to_owned()))
        .ok_or_else(|| format!("expected {shape}"))
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr cannot be written to, only the exit status is left to tell it.
            let _written = writeln!(std::io::stderr(), "runai-fake: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> std::io::Result<()> {
    let mut applications = arguments.applications;
    if applications.is_empty() {
        applications.push(("test-app".into(), "test-secret".into()));
    }
    let mut users = arguments.users;
    if users.is_empty() {
        users.push(("test-user".into(), "test-password".into()));
    }
    let mut builder = RunaiFake::builder().realm(&arguments.realm);
    for (id, secret) in &applications {
        builder = builder.application(id, secret);
    }
    for (name, password) in &users {
        builder = builder.user(name, password);
    }
    for (token, client) in &arguments.external_tokens {
        builder = builder.external_token(token, client);
    }
    for version in arguments.without_endpoint_versions {
        builder = builder.endpoint_version(version, false);
    }
    let fake = builder
        .token_lifetime(Duration::from_secs(arguments.token_lifetime))
        .expires_in(arguments.expires_in)
        .tls(arguments.tls)
        .port(arguments.port)
        .start()
        .await?;
    let (control_addr, serving) = control::listen(fake.clone(), arguments.control_port).await?;
    let ca_file = fake
        .ca_pem()
        .map(|pem| CaFile::write(arguments.ca_file, pem))
        .transpose()?;
    let applications: Vec<_> = applications
        .iter()
        .map(|(id, secret)| json!({"id": id, "secret": secret}))
        .collect();
    let users: Vec<_> = users
        .iter()
        .map(|(name, password)| json!({"name": name, "password": password}))
        .collect();
    let ready = json!({
        "url": fake.url(),
        "control_url": format!("http://{control_addr}"),
        "ca_path": ca_file.as_ref().map(|file| &file.path),
        "applications": applications,
        "users": users,
        "realm": arguments.realm,
    });
    // A signal can come as soon as somebody reads the line, so listen for it before.
    let ended = ended()?;
    writeln!(std::io::stdout(), "{ready}")?;
    tokio::select! {
        () = serving => {}
        () = ended => {}
    }
    fake.shutdown().await;
    Ok(())
}

/// The file with the CA's certificate. A temporary one is removed at the end.
struct CaFile {
    path: PathBuf,
    is_temporary: bool,
}

impl CaFile {
    fn write(named: Option<PathBuf>, pem: &str) -> std::io::Result<Self> {
        let is_temporary = named.is_none();
        let path = named.unwrap_or_else(|| {
            env::temp_dir().join(format!("runai-fake-{}.pem", std::process::id()))
        });
        fs::write(&path, pem).map_err(|error| {
            let path = path.display();
            std::io::Error::other(format!(
                "cannot write the CA's certificate to `{path}`: {error}"
            ))
        })?;
        Ok(Self { path, is_temporary })
    }
}

impl Drop for CaFile {
    fn drop(&mut self) {
        if self.is_temporary {
            // It fails if somebody else has removed the file.
            let _removed = fs::remove_file(&self.path);
        }
    }
}

#[cfg(unix)]
fn ended() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(windows)]
fn ended() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
