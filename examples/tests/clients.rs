//! The client examples, run as a user runs them.

#![allow(clippy::unwrap_used, reason = "a test may")]

use test_support::{Program, Scratch};

#[tokio::test]
async fn the_hyper_clients_story_goes_as_expected() {
    let output = Program::example("hyper_client").end().await;
    let printed = output.success();
    let expected = [
        "HTTP/1.1: a list: 200 OK",
        "HTTP/1.1: a submission whose token was revoked: 202 Accepted, sent again: true",
        "HTTP/2.0: a list: 200 OK",
        "HTTP/2.0: a submission whose token was revoked: 202 Accepted, sent again: true",
        "summary: token_fetches=3",
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn d25_the_grpc_clients_story_goes_as_expected() {
    let output = Program::example("grpc").end().await;
    let printed = output.success();
    let expected = [
        "a unary call: job-1",
        "a unary call, the token revoked before: job-2",
        "a client stream, rejected before its end: 5 jobs, in order",
        "a server stream, the token revoked before: 3 jobs",
        "UNAUTHENTICATED after the first message is passed on",
        "summary: token_fetches=4 retried=3",
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn the_reqwest_clients_story_goes_as_expected() {
    let output = Program::example("reqwest_client").end().await;
    let printed = output.success();
    let expected = [
        "a list: 200 OK",
        "a submission whose token was revoked: 202 Accepted, sent again: true",
        "a list, 503 at first: 200 OK",
        "another origin: the token may not go to https://elsewhere.example: allow that origin on the \
         layer, or let requests to other origins pass without a token",
        "summary: token_fetches=2 requests=5",
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn e14_ssl_cert_file_replaces_the_systems_certificates() {
    let fake = runai_fake::RunaiFake::builder()
        .tls(true)
        .start()
        .await
        .unwrap();
    let scratch = Scratch::new();
    let ca = scratch.write("ca.pem", fake.ca_pem().unwrap());
    let missing = scratch.name("missing.pem");
    let run = |certificates: Option<&str>| {
        let program = Program::example("every_grant").args(&["client"]);
        let program = program.application(fake.url(), "test-app", "test-secret");
        match certificates {
            Some(file) => program.var("SSL_CERT_FILE", file),
            None => program,
        }
    };
    let output = run(Some(&ca)).end().await;
    let printed = output.success();
    assert!(printed.starts_with("ok: token of "), "{printed}");
    // Without the variable, nobody trusts the private CA. The error names a missing file.
    for (certificates, says) in [
        (None, "is not trusted".to_owned()),
        (
            Some(missing.as_str()),
            format!("{missing} does not exist, and SSL_CERT_FILE names it"),
        ),
    ] {
        let output = run(certificates).end().await;
        assert!(
            !output.status.success() && output.stdout.contains(&says),
            "{}",
            output.stdout
        );
    }
}
