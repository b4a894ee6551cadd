//! The control plane as a program.

use std::{env, fs, io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use runai_fake::{RunaiFake, control};
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
    /// How long tokens live
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    token_lifetime: u64,
    /// Tell `expiresIn` in v1 answers, as control planes do from 2.24 on
    #[arg(long)]
    expires_in: bool,
}

fn application(text: &str) -> Result<(String, String), String> {
    text.split_once(':')
        .filter(|(id, _)| !id.is_empty())
        .map(|(id, secret)| (id.to_owned(), secret.to_owned()))
        .ok_or_else(|| "write it as ID:SECRET".to_owned())
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
    let builder = applications
        .iter()
        .fold(RunaiFake::builder(), |builder, (id, secret)| {
            builder.application(id, secret)
        });
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
    let ready = json!({
        "url": fake.url(),
        "control_url": format!("http://{control_addr}"),
        "ca_path": ca_file.as_ref().map(|file| &file.path),
        "applications": applications,
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
