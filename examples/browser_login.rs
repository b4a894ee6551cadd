//! A person logs in with a browser, and a program goes on with the refresh token.
//!
//! ```text
//! RUNAI_BASE_URL=https://acme.run.ai cargo run --example browser_login
//! RUNAI_BASE_URL=https://acme.run.ai cargo run --example browser_login -- --paste
//! ```
//!
//! With `--paste` it waits for the URL that the browser shows at the end instead, for a browser on another
//! machine. Without `RUNAI_BASE_URL` it starts a fake control plane on loopback, whose login page logs in
//! at once: open the URL in a browser, or with `curl -L`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, io, process::ExitCode};

use runai_auth::{BoxError, BrowserLogin, ControlPlane, Credentials};
use runai_fake::RunaiFake;

#[tokio::main]
async fn main() -> ExitCode {
    match log_in().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn log_in() -> Result<(), BoxError> {
    // It stops when it is dropped.
    let fake;
    let url = match env::var("RUNAI_BASE_URL") {
        Ok(url) if !url.is_empty() => url,
        _ => {
            fake = RunaiFake::builder().start().await?;
            fake.url().to_owned()
        }
    };
    let control_plane = ControlPlane::new(&url)?;

    let login = BrowserLogin::new(&control_plane).start().await?;
    println!("open {}", login.url());
    let refresh_token = match env::args().any(|arg| arg == "--paste") {
        true => {
            println!("and paste the URL that the browser shows at the end:");
            let mut line = String::new();
            io::stdin().read_line(&mut line)?;
            login.finish_with_code(&line).await?
        }
        false => login.finish().await?,
    };

    // A program that is to know the person next time gives a store, `RefreshTokens::stored`.
    let auth = control_plane.authenticate(Credentials::refresh_token(refresh_token));
    auth.cache().token().await?;
    println!("logged in, and the refresh token gives tokens");
    Ok(())
}

/// An error with all that caused it, on one line.
fn chain(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
