//! Lets a person log in with a browser, and uses the refresh token from then on.
//!
//! ```text
//! RUNAI_BASE_URL=https://acme.run.ai cargo run --example browser_login
//! RUNAI_BASE_URL=https://acme.run.ai cargo run --example browser_login -- --paste
//! ```
//!
//! With `--paste` it asks for the URL that the browser shows at the end, for a browser on another machine.
//! Without `RUNAI_BASE_URL` it starts a fake control plane on loopback, whose login page logs in at once: open
//! the URL in a browser, or with `curl -L`.

#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{env, io, process::ExitCode};

use runai_auth::{BoxError, BrowserLogin, ControlPlane, Credentials, tower_bearer::Report};
use runai_fake::RunaiFake;

#[tokio::main]
async fn main() -> ExitCode {
    match log_in().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {}", Report::new(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn log_in() -> Result<(), BoxError> {
    // The fake stops when this is dropped.
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

    // To remember the person for the next run, use a store: `RefreshTokens::stored`.
    let auth = control_plane.authenticate(Credentials::refresh_token(refresh_token));
    auth.cache().token().await?;
    println!("logged in; the refresh token works");
    Ok(())
}
