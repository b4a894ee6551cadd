//! The program: its one line, its help, its end.

use serde_json::{Value, json};
#[cfg(unix)]
use test_support::Signal;
use test_support::{Program, Running, Scratch};

use crate::client::{Client, start};

fn program(arguments: &[&str]) -> Program {
    Program::at(env!("CARGO_BIN_EXE_runai-fake")).args(arguments)
}

/// The running program, and its line.
async fn run(arguments: &[&str]) -> (Running, Value) {
    let mut program = program(arguments).start();
    let line = program.json().await;
    (program, line)
}

#[tokio::test]
async fn it_says_where_it_is() {
    let arguments = ["--application", "a:s:x", "--application", "b:t"];
    let (_fake, line) = run(&arguments).await;
    let address = |name: &str| line[name].as_str().expect("a text").to_owned();
    assert!(address("url").starts_with("http://127.0.0.1:"), "{line}");
    assert!(
        address("control_url").starts_with("http://127.0.0.1:"),
        "{line}"
    );
    assert!(line["ca_path"].is_null());
    // What comes after the first colon is the secret.
    let applications =
        serde_json::json!([{"id": "a", "secret": "s:x"}, {"id": "b", "secret": "t"}]);
    assert_eq!(line["applications"], applications);
}

#[tokio::test]
async fn it_takes_users_a_realm_and_endpoint_versions() {
    let arguments = [
        "--user=ada:p:w",
        "--user=grace:hopper",
        "--realm=acme",
        "--without-endpoint-version=v2",
        "--without-endpoint-version=keycloak",
        "--external-token=out:side:grace",
    ];
    let (_fake, line) = run(&arguments).await;
    let users = json!([
        {"name": "ada", "password": "p:w"},
        {"name": "grace", "password": "hopper"},
    ]);
    assert_eq!((&line["users"], &line["realm"]), (&users, &"acme".into()));
    let client = at(&line).await;
    for (body, status) in [
        (
            json!({"grantType": "password", "username": "ada", "password": "p:w", "clientID": "c"}),
            200,
        ),
        (
            json!({"grantType": "password", "username": "test-user", "password": "test-password", "clientID": "c"}),
            401,
        ),
        (
            json!({"grantType": "external_token_exchange", "externalToken": "out:side"}),
            200,
        ),
    ] {
        assert_eq!(client.v1(&body).await.status, status, "{body}");
    }
    assert_eq!(client.v2("").await.status, 404);
    let page = "/auth/realms/acme/.well-known/openid-configuration";
    assert_eq!(client.get(page, "").await.status, 404);

    // The defaults: one user, a realm and every endpoint version.
    let (_fake, line) = run(&["--realm=acme"]).await;
    let client = at(&line).await;
    let users = json!([{"name": "test-user", "password": "test-password"}]);
    assert_eq!(line["users"], users);
    assert_eq!(client.v2("").await.status, 400);
    assert_eq!(client.get(page, "").await.status, 200);
    let other = page.replace("acme", "runai");
    assert_eq!(client.get(&other, "").await.status, 404);
}

/// A client of the running program.
async fn at(line: &Value) -> Client {
    let url = line["url"].as_str().expect("a text").to_owned();
    Client::new(&start().await).at(url)
}

#[tokio::test]
async fn it_writes_its_ca_to_the_given_file() {
    let scratch = Scratch::new();
    let file = scratch.name("ca.pem");
    let (_fake, line) = run(&["--tls", "--ca-file", &file]).await;
    assert_eq!(line["ca_path"], file.as_str());
    let pem = scratch.read("ca.pem");
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
}

/// A signal may come as soon as the line has been read.
#[cfg(unix)]
#[tokio::test]
async fn it_ends_in_order_on_a_signal() {
    for signal in [Signal::TERM, Signal::INT].repeat(10) {
        let (fake, _line) = run(&[]).await;
        fake.signal(signal);
        let ended = fake.end().await;
        assert!(ended.status.success(), "{signal:?}: {ended:?}");
    }
}

#[tokio::test]
async fn help_says_that_it_is_unofficial() {
    let ended = program(&["--help"]).end().await;
    let text = ended.success().split_whitespace();
    let text = text.collect::<Vec<_>>().join(" ");
    assert!(
        text.contains(
            "Unofficial: not affiliated with, endorsed or supported by NVIDIA; NVIDIA and Run:ai are \
             trademarks of NVIDIA Corporation, named only to say what this works with."
        ),
        "{text}"
    );
}

#[tokio::test]
async fn a_bad_argument_is_explained() {
    for (argument, expected) in [
        ("--application=no-secret", "ID:SECRET"),
        ("--user=no-password", "NAME:PASSWORD"),
        ("--user=:no-name", "NAME:PASSWORD"),
        ("--external-token=no-client:", "TOKEN:CLIENT"),
        ("--without-endpoint-version=v3", "v1, v2, keycloak"),
    ] {
        let ended = program(&[argument]).end().await;
        assert!(!ended.status.success(), "{argument}");
        assert!(ended.stderr.contains(expected), "{argument}: {ended:?}");
    }
}
