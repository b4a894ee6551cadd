//! The daemon's story: what happens to a daemon in months, in a few seconds.

use std::{
    env, fs, io,
    path::PathBuf,
    process::{self, Command},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use axum::{body::Body, http::Uri};
use http_body_util::BodyExt;
use hyper_util::{client::legacy, rt::TokioExecutor};
use runai_auth::{BoxError, ControlPlane, Credentials, Secret, tower_bearer::Reason};
use runai_fake::{Exchange, Kind, RunaiFake};
use tokio::{net::TcpListener, time::sleep};

use crate::{Daemon, stop_signal};

/// The time between two polls of the story.
const EVERY: Duration = Duration::from_millis(500);

/// Plays the story: a secret is rotated, a token is revoked, another is refreshed, and SIGTERM comes.
pub(crate) async fn play() -> Result<(), BoxError> {
    let fake = RunaiFake::builder()
        .application("daemon", "the first secret")
        .token_lifetime(Duration::from_secs(8))
        .tls(true)
        .start()
        .await?;
    let secret = SecretFile::new("the first secret")?;
    let ca = fake.ca_pem().ok_or("the fake has no CA")?;
    let auth = ControlPlane::new(fake.url())?
        .root_certificates_pem(ca.as_bytes())?
        .authenticate(Credentials::client("daemon", Secret::file(secret.path())));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let stop = stop_signal()?;
    let daemon = Daemon::new(auth)?;
    println!(
        "polls {} twice a second; status at http://{address}",
        fake.url()
    );
    let running = tokio::spawn(daemon.clone().run(EVERY, listener, stop));

    polled(&fake, 4).await;
    expect(&address, "/readyz", 200).await?;
    let rotated = fake.rotate_secret("daemon", "the second secret");
    hold(rotated, "the application is known")?;
    secret.write("the second secret")?;
    fake.revoke_all();
    println!("the secret is rotated, also in its file, and the tokens are revoked");
    let so_far = fake.api_requests();
    polled(&fake, so_far + 3).await;
    println!("the next poll got a 401, and was sent again with a token for the new secret");
    while daemon.auth.status().counts.refreshes.of(Reason::Ahead) == 0 {
        sleep(Duration::from_millis(20)).await;
    }
    println!("the token was refreshed ahead of its expiry");
    expect(&address, "/livez", 200).await?;
    let scraped = expect(&address, "/metrics", 200).await?;
    let refreshes = || {
        scraped
            .lines()
            .filter(|line| line.starts_with("tower_bearer_refreshes_total"))
    };
    refreshes().for_each(|line| println!("  {line}"));
    hold(
        refreshes().any(|line| line.contains(r#"reason="ahead""#)),
        "the refresh is counted",
    )?;

    let gate = fake.hold_api();
    gate.reached().await;
    // The shell's parent is this program.
    let signalled = Command::new("sh")
        .args(["-c", "kill -TERM $PPID"])
        .status()?;
    hold(signalled.success(), "SIGTERM is sent")?;
    daemon
        .stopping
        .subscribe()
        .wait_for(|stopping| *stopping)
        .await?;
    println!("SIGTERM comes in the middle of a poll");
    let answer = expect(&address, "/readyz", 503).await?;
    println!("  {answer}");
    hold(
        !running.is_finished(),
        "the daemon waits for the poll in progress",
    )?;
    gate.release();
    running.await??;
    println!("the poll was finished, and the daemon has ended");

    println!("summary: {}", daemon.summary());
    let polls = daemon.polls.all.load(Relaxed);
    hold(daemon.polls.failed.load(Relaxed) == 0, "no poll fails")?;
    let counts = daemon.auth.status().counts;
    let answered = |it: &Exchange| it.kind == Kind::Api && it.status == Some(200);
    let answers = fake.journal().into_iter().filter(answered).count() as u64;
    hold(answers == polls, "each poll is answered once")?;
    hold(counts.retries == 1, "one poll is sent again")?;
    hold(
        fake.token_requests() as u64 == counts.fetches,
        "both sides count the same fetches",
    )
}

/// Waits until the control plane has answered this many polls.
async fn polled(fake: &RunaiFake, polls: usize) {
    let answered = |it: &&Exchange| it.kind == Kind::Api && it.status.is_some();
    fake.wait_for(|journal| journal.iter().filter(answered).count() >= polls)
        .await;
}

/// Asks the daemon for its state, and checks the status.
async fn expect(address: &str, path: &str, status: u16) -> Result<String, BoxError> {
    let uri: Uri = format!("http://{address}{path}").parse()?;
    let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Body>();
    let response = client.get(uri).await?;
    println!("GET {path}: {}", response.status());
    hold(
        response.status() == status,
        &format!("{path} is answered {status}"),
    )?;
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// A secret in a file, which is removed when this is dropped.
struct SecretFile(PathBuf);

impl SecretFile {
    fn new(secret: &str) -> io::Result<Self> {
        let folder = env::temp_dir().join(format!("runai-daemon-{}", process::id()));
        fs::create_dir_all(&folder)?;
        let this = Self(folder);
        this.write(secret)?;
        Ok(this)
    }

    fn path(&self) -> PathBuf {
        self.0.join("secret")
    }

    /// Replaces the file with a rename, so that nobody reads half a secret.
    fn write(&self, secret: &str) -> io::Result<()> {
        let new = self.0.join("secret.new");
        fs::write(&new, secret)?;
        fs::rename(new, self.path())
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        // A file that is left behind holds only a secret of the fake.
        let _removed = fs::remove_dir_all(&self.0);
    }
}

fn hold(held: bool, what: &str) -> Result<(), BoxError> {
    match held {
        true => Ok(()),
        false => Err(format!("expectation failed: {what}").into()),
    }
}
