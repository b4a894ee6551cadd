//! Adds the middleware to reqwest, inside reqwest-retry.
//!
//! ```text
//! cargo run --example reqwest_client
//! ```
//!
//! It starts a fake control plane with a private CA.

#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{process::ExitCode, time::Duration};

use reqwest::Certificate;
use reqwest_bearer::BearerAuthMiddleware;
use reqwest_middleware::ClientBuilder;
use reqwest_retry::{RetryTransientMiddleware, policies::ExponentialBackoff};
use runai_auth::{AuthOutcome, BoxError, ControlPlane, Credentials, tower_bearer::Report};
use runai_fake::{Behaviour, RunaiFake};

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

    // reqwest's feature `rustls-no-provider` leaves the choice of the TLS provider to the program.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        return Err("another TLS provider is already installed".into());
    }
    let http = reqwest::Client::builder()
        .tls_certs_only([Certificate::from_pem(ca.as_bytes())?])
        .build()?;
    let pause = Duration::from_millis(10);
    let policy = ExponentialBackoff::builder()
        .retry_bounds(pause, pause)
        .build_with_max_retries(2);
    let api = ClientBuilder::new(http)
        .with(RetryTransientMiddleware::new_with_policy(policy))
        // This line adds the middleware. It comes after the retries, so it sees each of them.
        .with(BearerAuthMiddleware::new(auth.layer()))
        .build();

    let clusters = auth.url("/api/v1/clusters")?.to_string();
    let response = api.get(&clusters).send().await?;
    println!("a list: {}", response.status());

    fake.revoke_all();
    let submit = auth.url("/api/v1/workloads/trainings")?.to_string();
    let response = api
        .post(submit)
        .header("content-type", "application/json")
        .body(r#"{"name":"demo"}"#)
        .send()
        .await?
        .error_for_status()?;
    let outcome = response.extensions().get::<AuthOutcome>();
    println!(
        "a submission whose token was revoked: {}, sent again: {}",
        response.status(),
        outcome.is_some_and(AuthOutcome::retried)
    );

    fake.on_api(Behaviour::status(503));
    let response = api.get(&clusters).send().await?.error_for_status()?;
    println!("a list, 503 at first: {}", response.status());

    let elsewhere = api.get("https://elsewhere.example/").send().await;
    let error = elsewhere.err().ok_or("the token left for another origin")?;
    println!("another origin: {error}");

    let (fetches, requests) = (fake.token_requests(), fake.api_requests());
    println!("summary: token_fetches={fetches} requests={requests}");
    match (fetches, requests) {
        (2, 5) => Ok(()),
        _ => Err("expected 2 token fetches and 5 requests".into()),
    }
}
