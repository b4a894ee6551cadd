//! Gets one token, with any credentials that runai-auth supports.
//!
//! ```text
//! cargo run --example every_grant -- client v1
//! ```
//!
//! The first argument names the credentials, whose values come from the environment:
//!
//! | credentials | variables |
//! | --- | --- |
//! | `client`, `client-credentials` | `RUNAI_CLIENT_ID`, `RUNAI_CLIENT_SECRET` |
//! | `password` | `RUNAI_USERNAME`, `RUNAI_PASSWORD` |
//! | `refresh-token` | `RUNAI_REFRESH_TOKEN` |
//! | `external-token` | `RUNAI_EXTERNAL_TOKEN` |
//! | `kubeconfig` | `KUBECONFIG`, as for kubectl |
//!
//! The second is the endpoint version: `v1`, `v2`, `keycloak` or `auto` (the default). `RUNAI_BASE_URL` is the
//! control plane. Optional: `RUNAI_CA_FILE` names the certificate of a private CA, `RUNAI_PROXY` a forward
//! proxy.
//!
//! It prints the token's length, never the token. The only exception is a kubeconfig's token that starts
//! with `test-`, because a script compares it with the token that kubectl uses. The exit status is 0 only if
//! there is a token.

#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{env, fs, process::ExitCode};

use runai_auth::{
    BoxError, ClientGrant, ControlPlane, Credentials, TokenEndpoint, tower_bearer::Report,
};

#[tokio::main]
async fn main() -> ExitCode {
    match get_a_token().await {
        Ok(line) => {
            println!("ok: {line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("failed: {}", Report::new(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn get_a_token() -> Result<String, BoxError> {
    let mut arguments = env::args().skip(1);
    let kind = arguments.next().ok_or("name the credentials")?;
    let endpoint = arguments.next();
    let auth = control_plane(endpoint.as_deref().unwrap_or("auto"))?
        // Without retries, the first error is printed.
        .authenticate_with(credentials(&kind)?, |cache| cache.attempts(1));
    let token = auth.cache().token().await?;
    let text = token.expose_secret();
    if kind == "kubeconfig" && text.starts_with("test-") {
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
        other => return Err(format!("unknown endpoint version `{other}`").into()),
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

fn credentials(kind: &str) -> Result<Credentials, BoxError> {
    let client = || {
        let id = variable("RUNAI_CLIENT_ID")?;
        let secret = variable("RUNAI_CLIENT_SECRET")?;
        Ok::<_, BoxError>(Credentials::client(id, secret))
    };
    Ok(match kind {
        "client" => client()?.into(),
        "client-credentials" => client()?.grant(ClientGrant::ClientCredentials).into(),
        "password" => {
            let name = variable("RUNAI_USERNAME")?;
            Credentials::password(name, variable("RUNAI_PASSWORD")?).into()
        }
        "refresh-token" => Credentials::refresh_token(variable("RUNAI_REFRESH_TOKEN")?).into(),
        "external-token" => Credentials::external_token(variable("RUNAI_EXTERNAL_TOKEN")?),
        "kubeconfig" => Credentials::kubeconfig().into(),
        other => return Err(format!("unknown credentials `{other}`").into()),
    })
}

/// Returns a variable that is set and not empty.
fn variable(name: &str) -> Result<String, BoxError> {
    match env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => Err(format!("set {name}").into()),
    }
}
