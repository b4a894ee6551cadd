//! Commands that run with a proxy of their own.

use std::os::unix::process::ExitStatusExt;

use runai_fake::RunaiFake;
use test_support::{Ended, Program, Running, Scratch, Signal};

use crate::support::{CLUSTERS, command_for, ended, get, get_with};

fn exec(fake: &RunaiFake, script: &str) -> Program {
    command_for(fake.url(), &["exec", "--", "sh", "-c", script])
}

#[tokio::test]
async fn the_command_finds_the_proxy_and_no_secret() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let scratch = Scratch::new();
    let file = scratch.write("secret", "test-secret\n");
    let command = exec(&fake, "env; exit 7")
        .without("RUNAI_CLIENT_SECRET")
        .var("RUNAI_CLIENT_SECRET_FILE", &file)
        .var("RUNAI_AUTH_TIMEOUT", "5s")
        .var("NO_PROXY", "internal.example")
        .var("RUNAI_PROJECT", "mine");
    let (code, stdout, stderr) = ended(command).await;
    assert_eq!(code, Some(7), "{stderr}");
    let value = |name: &str| {
        let prefix = format!("{name}=");
        stdout.lines().find_map(|it| it.strip_prefix(&prefix))
    };
    let url = value("RUNAI_BASE_URL").unwrap();
    let (origin, key) = url.rsplit_once('/').unwrap();
    assert!(origin.starts_with("http://127.0.0.1:"), "{url}");
    assert_eq!(key.len(), 43, "{url}");
    assert_eq!(value("RUNAI_CLIENT_ID"), Some("placeholder"));
    assert_eq!(value("RUNAI_CLIENT_SECRET"), Some("placeholder"));
    assert_eq!(value("RUNAI_CLIENT_SECRET_FILE"), None);
    assert_eq!(value("RUNAI_AUTH_TIMEOUT"), None);
    assert_eq!(value("NO_PROXY"), Some("internal.example,127.0.0.1"));
    assert_eq!(value("no_proxy"), Some("internal.example,127.0.0.1"));
    assert_eq!(value("RUNAI_PROJECT"), Some("mine"));
    assert!(!stdout.contains("test-secret"));
    assert!(!stdout.contains(&file));
    // It is gone with its command.
    assert!(
        tokio::net::TcpStream::connect(&origin["http://".len()..])
            .await
            .is_err()
    );
}

/// A command that runs, and the first line that it wrote.
async fn started(command: Program) -> (Running, String) {
    let mut program = command.start();
    let line = program.line().await;
    (program, line)
}

async fn signalled(program: Running, signal: Signal) -> Ended {
    program.signal(signal);
    program.end().await
}

#[tokio::test]
async fn requests_go_through_with_the_key_alone() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let script = "trap 'exit 0' TERM; echo $RUNAI_BASE_URL; while :; do sleep 0.05; done";
    let (program, url) = started(exec(&fake, script)).await;
    assert_eq!(get(&format!("{url}{CLUSTERS}")).await.status, 200);
    let placeholder = [("authorization", "Bearer placeholder")];
    let answer = get_with(&format!("{url}{CLUSTERS}"), &placeholder).await;
    assert_eq!(answer.status, 200);
    let (origin, _) = url.rsplit_once('/').unwrap();
    get(&format!("{origin}{CLUSTERS}")).await.expect(403, "key");
    assert_eq!(signalled(program, Signal::TERM).await.code(), 0);
}

#[tokio::test]
async fn signals_reach_the_command() {
    let fake = RunaiFake::builder().start().await.unwrap();
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
    ] {
        let script = format!("trap 'exit 9' {name}; echo ready; while :; do sleep 0.05; done");
        let (program, _) = started(exec(&fake, &script)).await;
        assert_eq!(signalled(program, signal).await.code(), 9, "{name}");
    }
    // The exit code is the one that a shell gives.
    let (code, ..) = ended(exec(&fake, "kill -KILL $$")).await;
    assert_eq!(code, Some(137));
    let (program, _) = started(exec(&fake, "echo ready; exec sleep 1000")).await;
    let ended = signalled(program, Signal::TERM).await;
    assert_eq!(ended.code(), 143);
    assert_eq!(ended.status.signal(), None);
}

#[tokio::test]
async fn a_command_that_cannot_run_has_the_exit_code_of_a_shell() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let scratch = Scratch::new();
    let file = scratch.write("file", "no program");
    let missing = scratch.name("missing");
    for (program, expected) in [(missing.as_str(), 127), (file.as_str(), 126)] {
        let (code, _, stderr) = ended(command_for(fake.url(), &["exec", "--", program])).await;
        assert_eq!(code, Some(expected), "{stderr}");
        assert!(stderr.contains(program), "{stderr}");
    }
    let (code, ..) = ended(command_for(fake.url(), &["exec"])).await;
    assert_eq!(code, Some(2));
}

#[tokio::test]
async fn without_a_token_the_command_does_not_run() {
    let fake = RunaiFake::builder()
        .application("test-app", "another-secret")
        .start()
        .await
        .unwrap();
    let (code, stdout, stderr) = ended(exec(&fake, "echo ran")).await;
    assert_eq!(code, Some(3), "{stderr}");
    assert_eq!(stdout, "");
}

#[tokio::test]
async fn the_command_has_the_standard_streams() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let (code, stdout, stderr) = ended(exec(&fake, "echo out; echo err >&2")).await;
    assert_eq!(code, Some(0));
    assert_eq!(stdout, "out\n");
    assert_eq!(stderr, "err\n");
}
