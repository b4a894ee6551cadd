//! `runai-auth token`: prints a token.

use std::{process::ExitCode, time::Duration};

use runai_auth::Auth;
use serde_json::{Value, json};

use crate::{
    claims::{claims, owner, time_left},
    connect,
    failure::{Failure, REFUSED},
    flags::{TokenArgs, TokenOutput},
    print,
};

pub(crate) async fn run(args: &TokenArgs) -> Result<ExitCode, Failure> {
    let auth = connect::auth(&args.connect)?;
    let mut token = auth.cache().token().await?;
    if args.refresh {
        token = auth.cache().refresh().await?;
    }
    let is_short = |left: Option<Duration>| match (left, args.min_ttl) {
        (Some(left), Some(wanted)) => left < wanted,
        _ => false,
    };
    if is_short(time_left(token.expose_secret())) && !args.refresh {
        token = auth.cache().refresh().await?;
    }
    let left = time_left(token.expose_secret());
    if is_short(left) {
        let left = left.unwrap_or_default().as_secs();
        return Err(Failure::new(
            REFUSED,
            format!("the token has {left} s left, and a new one does not live longer"),
            "Log in again, or ask for less with --min-ttl",
        ));
    }
    let secret = token.expose_secret();
    match args.output {
        TokenOutput::Plain => print::line(secret),
        TokenOutput::Header => print::line(&format!("Authorization: Bearer {secret}")),
        TokenOutput::Json => print::json(&description(&auth, secret, left)),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the token and what its claims say.
fn description(auth: &Auth, token: &str, left: Option<Duration>) -> Value {
    let claims = claims(token);
    let expires_at = claims.as_ref().and_then(|claims| claims.get("exp"));
    json!({
        "token": token,
        "expires_at": expires_at.and_then(Value::as_f64).map(|at| at as i64),
        "seconds_left": left.map(|left| left.as_secs()),
        "claims": claims.as_ref().map(|claims| owner(claims, auth)),
    })
}
