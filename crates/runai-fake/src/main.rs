//! The control plane as a program.

use std::{env, fs, io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};
use runai_fake::{EndpointVersion, RunaiFake, control};
use serde_json::json;

/// A control plane that can misbehave, in a box, for tests.
///
/// When it is ready it prints one line of JSON with its URLs. It ends on SIGINT or SIGTERM.
#[derive(Parser)]
#[command(
    version,
    after_help = "Unofficial: not affiliated with, endorsed or supported by NVIDIA; NVIDIA and Run:ai are \
                  trademarks of NVIDIA Corporation, named only to say what this works with."
)]
struct Arguments {
    /// The port of the control plane; 0 takes any that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The port of the control interface; 0 takes any that is free
    #[arg(long, default_value_t = 0)]
    control_port: u16,
    /// Speak TLS, with a CA of its own
    #[arg(long)]
    tls: bool,
    /// Where to write the CA's certificate [default: a file in the temporary directory]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// An application and its secret; may be repeated [default: test-app:test-secret]
    #[arg(long = "application", value_name = "ID:SECRET", value_parser = application)]
    applications: Vec<(String, String)>,
    /// A person and their password; may be repeated [default: test-user:test-password]
    #[arg(long = "user", value_name = "NAME:PASSWORD", value_parser = user)]
    users: Vec<(String, String)>,
    /// An outside token and whose token it is exchanged for; may be repeated
    #[arg(long = "external-token", value_name = "TOKEN:CLIENT", value_parser = external_token)]
    external_tokens: Vec<(String, String)>,
    /// The realm of Keycloak's endpoints
    #[arg(long, value_name = "NAME", default_value = "runai")]
    realm: String,
    /// A form of token endpoint that is not there: it answers 404; may be repeated
    #[arg(long = "without-form", value_name = "FORM")]
    without_forms: Vec<FormName>,
    /// How long tokens live
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    token_lifetime: u64,
    /// Tell `expiresIn` in v1 answers, as control planes do from 2.24 on
    #[arg(long)]
    expires_in: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormName {
    V1,
    V2,
    Keycloak,
}

impl From<FormName> for EndpointVersion {
    fn from(name: FormName) -> Self {
        match name {
            FormName::V1 => Self::V1,
            FormName::V2 => Self::V2,
            FormName::Keycloak => Self::Keycloak,
        }
    }
}

fn application(text: &str) -> Result<(String, String), String> {
    halves(text.split_once(':'), "ID:SECRET")
}

fn user(text: &str) -> Result<(String, String), String> {
    halves(text.split_once(':'), "NAME:PASSWORD")
}

/// A token may have colons in it, so it is the last one that counts.
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
        .ok_or_else(|| format!("write it as {shape}"))
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If even that cannot be written the exit status is all there is to say.
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
    for name in arguments.without_forms {
        builder = builder.endpoint_version(name.into(), false);
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
    // A signal may come as soon as the line can be read, so it is listened for before that.
    let ended = ended()?;
    writeln!(std::io::stdout(), "{ready}")?;
    tokio::select! {
        () = serving => {}
        () = ended => {}
    }
    fake.shutdown().await;
    Ok(())
}

/// The CA's certificate in a file, which goes with the program unless its place was named.
struct CaFile {
    path: PathBuf,
    is_ours: bool,
}

impl CaFile {
    fn write(named: Option<PathBuf>, pem: &str) -> std::io::Result<Self> {
        let is_ours = named.is_none();
        let path = named.unwrap_or_else(|| {
            env::temp_dir().join(format!("runai-fake-{}.pem", std::process::id()))
        });
        fs::write(&path, pem).map_err(|error| {
            let path = path.display();
            std::io::Error::other(format!(
                "the CA's certificate cannot be written to {path}: {error}"
            ))
        })?;
        Ok(Self { path, is_ours })
    }
}

impl Drop for CaFile {
    fn drop(&mut self) {
        if self.is_ours {
            // Somebody else may have removed it, which is as well.
            let _gone = fs::remove_file(&self.path);
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
