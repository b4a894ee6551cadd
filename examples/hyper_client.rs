//! Puts the layer around your own hyper-util client: HTTP/1.1 and HTTP/2 over TLS.
//!
//! ```text
//! cargo run --example hyper_client
//! ```
//!
//! It starts a fake control plane with a private CA. If the default client is enough for you,
//! `auth.client()` is one line instead of all this; see the README.

#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{process::ExitCode, sync::Arc};

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use runai_auth::{
    AuthOutcome, BoxError, ControlPlane, Credentials, ReplayBody, tower_bearer::Report,
};
use runai_fake::RunaiFake;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tower::{Layer, ServiceExt};

type Https = Client<HttpsConnector<HttpConnector>, ReplayBody<Full<Bytes>>>;

#[tokio::main]
async fn main() -> ExitCode {
    match play().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {}", Report::new(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn play() -> Result<(), BoxError> {
    let fake = RunaiFake::builder()
        .application("ci-bot", "s3cr3t")
        .tls(true)
        .start()
        .await?;
    let ca = fake.ca_pem().ok_or("the fake speaks TLS")?;
    let auth = ControlPlane::new(fake.url())?
        .root_certificates_pem(ca.as_bytes())?
        .authenticate(Credentials::client("ci-bot", "s3cr3t"));

    for (client, version) in [
        (client(ca, false)?, Version::HTTP_11),
        (client(ca, true)?, Version::HTTP_2),
    ] {
        // This line adds the layer.
        let api = auth.layer().layer(client);

        let list = Request::get(auth.url("/api/v1/clusters")?).body(Full::default())?;
        let response = api.clone().oneshot(list).await?;
        println!("{:?}: a list: {}", response.version(), response.status());
        if response.version() != version || !response.status().is_success() {
            return Err("the list failed".into());
        }

        fake.revoke_all();
        let submission = Request::post(auth.url("/api/v1/workloads/trainings")?)
            .header("content-type", "application/json")
            .body(Full::from(r#"{"name":"demo"}"#))?;
        let response = api.oneshot(submission).await?;
        let outcome = response.extensions().get::<AuthOutcome>();
        println!(
            "{:?}: a submission whose token was revoked: {}, sent again: {}",
            response.version(),
            response.status(),
            outcome.is_some_and(AuthOutcome::retried)
        );
        if !response.status().is_success() {
            return Err("the submission failed".into());
        }
    }
    let fetches = fake.token_requests();
    println!("summary: token_fetches={fetches}");
    // One for the first token, and one for each revocation: both clients share the token.
    if fetches == 3 {
        Ok(())
    } else {
        Err("expected 3 token fetches".into())
    }
}

fn client(ca: &str, http2: bool) -> Result<Https, BoxError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only();
    let connector = match http2 {
        true => connector.enable_http2().build(),
        false => connector.enable_http1().build(),
    };
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}
