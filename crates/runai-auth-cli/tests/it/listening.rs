//! Where the proxy listens.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use runai_fake::RunaiFake;
use test_support::{Scratch, Signal, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::support::{CLUSTERS, Proxy, command_for, ended};

async fn ask(socket: &std::path::Path, host: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let asked = format!("GET {CLUSTERS} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn the_socket_is_for_its_owner() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let scratch = Scratch::new();
    let socket = scratch.path("runai-auth.sock");
    let command = command_for(fake.url(), &["proxy"]);
    let proxy = Proxy::start(command.var("XDG_RUNTIME_DIR", scratch.root())).await;
    let listening = format!("unix:{}", socket.display());
    assert_eq!(proxy.line, serde_json::json!({"listening": listening}));
    let metadata = std::fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    for host in ["localhost", "127.0.0.1:1", ""] {
        let answer = ask(&socket, host).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let answer = ask(&socket, "evil.example").await;
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");

    // Another proxy does not replace it.
    let arguments = ["proxy", "--listen", &listening];
    let (code, stdout, stderr) = ended(command_for(fake.url(), &arguments)).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stdout, "");
    assert!(stderr.contains("another process listens there"), "{stderr}");
    assert!(ask(&socket, "localhost").await.starts_with("HTTP/1.1 200"));

    proxy.signal(Signal::TERM);
    assert_eq!(proxy.end().await.code(), 0);
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_socket_that_was_left_behind_is_replaced() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let scratch = Scratch::new();
    let socket = scratch.path("socket");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let listen = format!("unix:{}", socket.display());
    let arguments = ["proxy", "--listen", &listen];
    let _proxy = Proxy::start(command_for(fake.url(), &arguments)).await;
    assert!(ask(&socket, "localhost").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_file_is_not_replaced() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let scratch = Scratch::new();
    let file = scratch.write("file", "precious");
    let listen = format!("unix:{file}");
    let (code, _, stderr) = ended(command_for(fake.url(), &["proxy", "--listen", &listen])).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "precious");
}

#[tokio::test]
async fn other_machines_are_let_in_only_on_purpose_and_with_a_key() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let scratch = Scratch::new();
    let key = scratch.write("key", "a-long-key-of-the-proxy\n");
    let remote = ["proxy", "--listen", "0.0.0.0:0"];
    for more in [
        vec![],
        vec!["--allow-remote"],
        vec!["--inbound-key-file", &key],
    ] {
        let arguments = [&remote[..], &more].concat();
        let (code, stdout, stderr) = ended(command_for(fake.url(), &arguments)).await;
        assert_eq!(code, Some(2), "{more:?}: {stderr}");
        assert_eq!(stdout, "");
        assert!(stderr.contains("other machines can reach"), "{stderr}");
    }
    let more = ["--allow-remote", "--inbound-key-file", &key];
    let arguments = [&remote[..], &more].concat();
    let proxy = Proxy::start(command_for(fake.url(), &arguments)).await;
    let listening = proxy.line["listening"].as_str().unwrap();
    assert!(listening.starts_with("http://0.0.0.0:"), "{listening}");
}

#[tokio::test]
async fn an_invalid_address_is_a_usage_error() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let scratch = Scratch::new();
    let (elsewhere, missing) = (format!("unix:{}", scratch.name("x")), scratch.name("key"));
    for (arguments, says) in [
        (vec![], "XDG_RUNTIME_DIR"),
        (vec!["--listen", "8080"], "is not an address"),
        (
            vec!["--listen", "127.0.0.1:0", "--admin-listen", "0.0.0.0:0"],
            "this machine only",
        ),
        (
            vec!["--listen", "127.0.0.1:0", "--admin-listen", &elsewhere],
            "this machine only",
        ),
        (
            vec!["--listen", "127.0.0.1:0", "--inbound-key-file", &missing],
            "key",
        ),
        (
            vec!["--listen", "127.0.0.1:0", "--allow-path", "api"],
            "\"api\"",
        ),
        (
            vec!["--listen", "127.0.0.1:0", "--allow-host", "a/b"],
            "\"a/b\"",
        ),
    ] {
        let arguments = [&["proxy"], &arguments[..]].concat();
        let (code, stdout, stderr) = ended(command_for(fake.url(), &arguments)).await;
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert_eq!(stdout, "");
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
    }
    // What is wrong is found before anything is asked for.
    assert_eq!(fake.journal().len(), 0);
}

#[tokio::test]
async fn without_a_key_a_warning_says_who_may_act() {
    let fake = RunaiFake::builder().start().await.unwrap();
    fake.shutdown().await;
    let scratch = Scratch::new();
    let key = scratch.write("key", "a-long-key-of-the-proxy\n");
    let warned = async |more: &[&str]| {
        let first = ["proxy", "--timeout", "50ms", "--listen", "127.0.0.1:0"];
        let arguments = [&first[..], more].concat();
        let (_, _, stderr) = ended(command_for(fake.url(), &arguments)).await;
        stderr.contains("any user of this machine can act as the application")
    };
    assert!(warned(&[]).await);
    assert!(!warned(&["--inbound-key-file", &key]).await);
}

#[tokio::test]
async fn each_flag_has_a_variable() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let command = command_for(fake.url(), &["proxy"])
        .var("RUNAI_AUTH_LISTEN", "127.0.0.1:0")
        .var("RUNAI_AUTH_ADMIN_LISTEN", "")
        .var("RUNAI_AUTH_HEALTH_LISTEN", "127.0.0.1:0")
        .var("RUNAI_AUTH_LAZY", "1")
        .var("RUNAI_AUTH_ALLOW_REMOTE", "false")
        .var("RUNAI_AUTH_METHODS", "GET,HEAD")
        .var("RUNAI_AUTH_ALLOW_PATH", "/api/v1/clusters,/api/v1/org-unit")
        .var("RUNAI_AUTH_DENY_PATH", "");
    let proxy = Proxy::start(command).await;
    assert_eq!(fake.journal().len(), 0);
    assert!(proxy.line.get("admin").is_none());
    assert!(proxy.line.get("health").is_some());
    assert_eq!(proxy.get(CLUSTERS).await.status, 200);
    assert_eq!(proxy.get("/api/v1/org-unit/projects").await.status, 200);
    proxy.get("/api/v1/workloads").await.expect(403, "path");

    let command = command_for(fake.url(), &["proxy"]);
    let misspelt = command.var("RUNAI_AUTH_READ_ONLY", "flase");
    assert_eq!(ended(misspelt).await.0, Some(2));
}

#[tokio::test]
async fn an_empty_variable_counts_as_unset() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let mut command = command_for(fake.url(), &["proxy", "--listen", "127.0.0.1:0"]);
    for name in [
        "ADMIN_LISTEN",
        "ALLOW_HOST",
        "ALLOW_PATH",
        "ALLOW_REMOTE",
        "GRACE",
        "HEALTH_LISTEN",
        "IDLE_TIMEOUT",
        "INBOUND_KEY_FILE",
        "LAZY",
        "MAX_REQUESTS",
        "METHODS",
        "READ_ONLY",
    ] {
        command = command.var(&format!("RUNAI_AUTH_{name}"), "");
    }
    let proxy = Proxy::start(command).await;
    assert_eq!(proxy.get(CLUSTERS).await.status, 200);
}
