//! One token, by any of the ways in which runai-auth can get it.
//!
//! ```text
//! cargo run --example every_grant -- client v1
//! ```
//!
//! The first argument is the way; each takes its values from the environment:
//!
//! | way | variables |
//! | --- | --- |
//! | `client`, `client-credentials` | `RUNAI_CLIENT_ID`, `RUNAI_CLIENT_SECRET` |
//! | `password` | `RUNAI_USERNAME`, `RUNAI_PASSWORD` |
//! | `refresh-token` | `RUNAI_REFRESH_TOKEN` |
//! | `external-token` | `RUNAI_EXTERNAL_TOKEN` |
//! | `kubeconfig` | `KUBECONFIG`, as kubectl has it |
//!
//! The second is the form of token endpoint: `v1`, `v2`, `keycloak` or `auto` (the default).
//! `RUNAI_BASE_URL` is the control plane. `RUNAI_CA_FILE` may name a private CA's certificate, and
//! `RUNAI_PROXY` a forward proxy.
//!
//! It prints how long the token is, never the token. The one exception is a kubeconfig's token that
//! starts with `test-`: a script compares it with what kubectl chooses. The exit status is 0 only if
//! there is a token.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, error::Error, fs, process::ExitCode};

use runai_auth::{BoxError, ClientGrant, ControlPlane, Credentials, TokenEndpoint};

#[tokio::main]
async fn main() -> ExitCode {
    match get_a_token().await {
        Ok(line) => {
            println!("ok: {line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("failed: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn get_a_token() -> Result<String, BoxError> {
    let mut arguments = env::args().skip(1);
    let way = arguments.next().ok_or("name a way to get a token")?;
    let endpoint = arguments.next();
    let auth = control_plane(endpoint.as_deref().unwrap_or("auto"))?
        // One try: what is refused is told as it is.
        .authenticate_with(credentials(&way)?, |cache| cache.attempts(1));
    let token = auth.cache().token().await?;
    let text = token.expose_secret();
    if way == "kubeconfig" && text.starts_with("test-") {
        return Ok(text.to_owned());
    }
    Ok(format!("token of {} characters", text.len()))
}

fn control_plane(endpoint: &str) -> Result<ControlPlane, BoxError> {
    let endpoint = match endpoint {
        "v1" => TokenEndpoint::V1,
        "v2" => TokenEndpoint::V2,
        "keycloak" => TokenEndpoint::Keycloak,
        "auto" => TokenEndpoint::Auto,
        other => return Err(format!("there is no form of token endpoint `{other}`").into()),
    };
    let mut control_plane =
        ControlPlane::new(&variable("RUNAI_BASE_URL")?)?.token_endpoint(endpoint);
    if let Ok(file) = variable("RUNAI_CA_FILE") {
        control_plane = control_plane.root_certificates_pem(&fs::read(file)?)?;
    }
    if let Ok(proxy) = variable("RUNAI_PROXY") {
        control_plane = control_plane.proxy(&proxy)?;
    }
    Ok(control_plane)
}

fn credentials(way: &str) -> Result<Credentials, BoxError> {
    let client = || {
        let id = variable("RUNAI_CLIENT_ID")?;
        let secret = variable("RUNAI_CLIENT_SECRET")?;
        Ok::<_, BoxError>(Credentials::client(id, secret))
    };
    Ok(match way {
        "client" => client()?.into(),
        "client-credentials" => client()?.grant(ClientGrant::ClientCredentials).into(),
        "password" => {
            let name = variable("RUNAI_USERNAME")?;
            Credentials::password(name, variable("RUNAI_PASSWORD")?).into()
        }
        "refresh-token" => Credentials::refresh_token(variable("RUNAI_REFRESH_TOKEN")?).into(),
        "external-token" => Credentials::external_token(variable("RUNAI_EXTERNAL_TOKEN")?),
        "kubeconfig" => Credentials::kubeconfig().into(),
        other => return Err(format!("there is no way `{other}`").into()),
    })
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Result<String, BoxError> {
    match env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => Err(format!("set {name}").into()),
    }
}

/// An error with all that caused it, on one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
