//! `runai-auth token`: prints a token.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use runai_auth::Auth;
use serde_json::{Map, Value, json};

use crate::{
    args::{TokenArgs, TokenOutput},
    connect,
    failure::{Failure, OTHER, REFUSED},
};

pub(crate) async fn run(args: &TokenArgs) -> Result<ExitCode, Failure> {
    let auth = connect::auth(&args.connect)?;
    let mut token = auth.cache().token().await?;
    if args.refresh {
        token = refreshed(&auth).await?;
    }
    let is_short = |left: Option<Duration>| match (left, args.min_ttl) {
        (Some(left), Some(wanted)) => left < wanted,
        _ => false,
    };
    if is_short(left(token.expose_secret())) && !args.refresh {
        token = refreshed(&auth).await?;
    }
    let left = left(token.expose_secret());
    if is_short(left) {
        let left = left.unwrap_or_default().as_secs();
        return Err(Failure::new(
            REFUSED,
            format!("the token has {left} s left, and no longer-lived one can be had"),
            "Log in again, or ask for less with --min-ttl",
        ));
    }
    let secret = token.expose_secret();
    let text = match args.output {
        TokenOutput::Plain => secret.to_owned(),
        TokenOutput::Header => format!("Authorization: Bearer {secret}"),
        TokenOutput::Json => described(secret, left).to_string(),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Another token than the one that is there. One that was got a moment ago is as new as can be.
async fn refreshed(auth: &Auth) -> Result<runai_auth::Token, Failure> {
    Ok(auth.cache().refresh().await?)
}

/// A line on the standard output. A reader that has gone away is no failure of ours.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            OTHER,
            format!("the standard output: {error}"),
            "",
        )),
        _ => Ok(()),
    }
}

/// What a token says of itself, as far as a person needs it.
fn described(token: &str, left: Option<Duration>) -> Value {
    let claims = claims(token);
    let ends = claims.as_ref().and_then(|claims| claims.get("exp"));
    json!({
        "token": token,
        "expires_at": ends.and_then(Value::as_f64).map(|at| at as i64),
        "seconds_left": left.map(|left| left.as_secs()),
        "claims": claims.as_ref().map(who),
    })
}

/// The claims that tell whose token it is.
pub(crate) fn who(claims: &Map<String, Value>) -> Value {
    let names = [
        "iss",
        "sub",
        "azp",
        "client_id",
        "clientId",
        "email",
        "preferred_username",
        "name",
        "tenantId",
        "tenant_id",
        "iat",
    ];
    let told = names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), claims.get(*name)?.clone())));
    Value::Object(told.collect())
}

/// The claims of a JWT, which nobody verifies here.
pub(crate) fn claims(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    match serde_json::from_slice(&claims) {
        Ok(Value::Object(claims)) => Some(claims),
        _ => None,
    }
}

/// How long a token lives from now on, by its own words and this machine's clock.
pub(crate) fn left(token: &str) -> Option<Duration> {
    let ends = claims(token)?.get("exp")?.as_f64()?;
    let left = ends - seconds_since_1970();
    Some(Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(Duration::MAX))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a person is told the time by the machine's own clock"
)]
pub(crate) fn seconds_since_1970() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
