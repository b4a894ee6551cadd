//! The clients' programs, run as a user runs them.

mod support;

use support::Program;

#[tokio::test]
async fn the_hyper_clients_story_goes_as_told() {
    let output = Program::start("hyper_client", &[], &[]).end().await;
    let told = output.success();
    let expected = [
        "HTTP/1.1: a list: 200 OK",
        "HTTP/1.1: a submission whose token was revoked: 202 Accepted, sent again: true",
        "HTTP/2.0: a list: 200 OK",
        "HTTP/2.0: a submission whose token was revoked: 202 Accepted, sent again: true",
        "summary: token_fetches=3",
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn the_reqwest_clients_story_goes_as_told() {
    let output = Program::start("reqwest_client", &[], &[]).end().await;
    let told = output.success();
    let expected = [
        "a list: 200 OK",
        "a submission whose token was revoked: 202 Accepted, sent again: true",
        "a list, 503 at first: 200 OK",
        "another origin: the token may not go to https://elsewhere.example: allow that origin on the \
         layer, or let requests to other origins pass without a token",
        "summary: token_fetches=2 requests=5",
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}
