//! Commands that give a token, by real ones.
#![cfg(unix)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};

use super::{Folder, load_text, message, user};
use crate::kubeconfig::{
    KubeconfigError, LoginMethod, User,
    exec::{Exec, ExecToken},
};

const V1: &str = "client.authentication.k8s.io/v1";
const BETA: &str = "client.authentication.k8s.io/v1beta1";

/// Runs what stands below `user.exec`.
async fn run_exec(folder: &Folder, exec: Value) -> Result<ExecToken, KubeconfigError> {
    let user = user(folder, &json!({ "exec": exec }).to_string())?;
    exec_of(user).run().await
}

fn exec_of(user: User) -> Exec {
    match user.login {
        LoginMethod::Exec(exec) => exec,
        other => panic!("{other:?}"),
    }
}

/// Runs a script for the shell.
async fn run(script: &str) -> Result<ExecToken, KubeconfigError> {
    run_exec(&Folder::new(), shell(script)).await
}

fn shell(script: &str) -> Value {
    json!({ "apiVersion": V1, "command": "sh", "args": ["-c", script] })
}

/// A script that writes a credential.
fn write(credential: &Value) -> String {
    format!("cat <<'END'\n{credential}\nEND")
}

fn credential(status: &Value) -> Value {
    json!({ "apiVersion": V1, "kind": "ExecCredential", "status": status })
}

fn script(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn a_command_gives_a_token_and_its_end() {
    let status = json!({ "token": "abc", "expirationTimestamp": "1970-01-02T01:00:00.5+01:00" });
    let token = run(&write(&credential(&status))).await.unwrap();
    assert_eq!(token.token.as_str(), "abc");
    assert_eq!(token.expires_at, Some(86_400.5));
    assert!(!format!("{token:?}").contains("abc"));

    let token = run(&write(&credential(&json!({ "token": "abc" }))))
        .await
        .unwrap();
    assert_eq!(token.expires_at, None);
}

#[tokio::test]
async fn a_command_receives_what_kubernetes_specifies() {
    let folder = Folder::new();
    let script = format!(
        "printf %s \"$KUBERNETES_EXEC_INFO\" >'{}/info'; test -n \"$PATH\" || exit 9\n\
         test \"$0 $EXTRA\" = 'zero one' || exit 8\ntest -z \"$(cat)\" || exit 7\n{}",
        folder.display(),
        write(&json!({ "apiVersion": BETA, "kind": "ExecCredential", "status": { "token": "t" } })),
    );
    let exec = json!({
        "apiVersion": BETA,
        "command": "sh",
        "args": ["-c", script, "zero"],
        "env": [{ "name": "EXTRA", "value": "one" }, { "name": "KUBERNETES_EXEC_INFO", "value": "x" }],
    });
    run_exec(&folder, exec).await.unwrap();
    let info = fs::read_to_string(folder.join("info")).unwrap();
    let expected =
        json!({ "apiVersion": BETA, "kind": "ExecCredential", "spec": { "interactive": false } });
    assert_eq!(serde_json::from_str::<Value>(&info).unwrap(), expected);
}

#[tokio::test]
async fn a_command_receives_the_cluster_if_it_needs_it() {
    let folder = Folder::new();
    folder.file("ca.pem", "PEM");
    let script = format!(
        "printf %s \"$KUBERNETES_EXEC_INFO\" >'{}/info'\n{}",
        folder.display(),
        write(&credential(&json!({ "token": "t" }))),
    );
    let mut exec = shell(&script);
    exec["provideClusterInfo"] = true.into();
    for (cluster, expected) in [
        (
            json!({
                "server": "https://one", "tls-server-name": "name", "insecure-skip-tls-verify": true,
                "certificate-authority-data": "Q0E=", "proxy-url": "http://proxy",
                "extensions": [{ "name": "client.authentication.k8s.io/exec", "extension": { "a": "b" } }],
            }),
            json!({
                "server": "https://one", "tls-server-name": "name", "insecure-skip-tls-verify": true,
                "certificate-authority-data": "Q0E=", "proxy-url": "http://proxy", "config": { "a": "b" },
            }),
        ),
        (
            json!({ "server": "https://two", "certificate-authority": "ca.pem" }),
            json!({ "server": "https://two", "certificate-authority-data": "UEVN" }),
        ),
    ] {
        let config = json!({
            "current-context": "main",
            "contexts": [{ "name": "main", "context": { "user": "me", "cluster": "prod" } }],
            "clusters": [{ "name": "prod", "cluster": cluster }],
            "users": [{ "name": "me", "user": { "exec": exec } }],
        });
        let file = folder.file("config", &config.to_string());
        let user = crate::kubeconfig::load(&[file])
            .unwrap()
            .user(None)
            .unwrap();
        exec_of(user).run().await.unwrap();
        let info = fs::read_to_string(folder.join("info")).unwrap();
        let info: Value = serde_json::from_str(&info).unwrap();
        assert_eq!(
            info["spec"],
            json!({ "interactive": false, "cluster": expected })
        );
    }

    let config = json!({
        "contexts": [{ "name": "main", "context": { "user": "me", "cluster": "gone" } }],
        "users": [{ "name": "me", "user": { "exec": exec } }],
    });
    let error = message(load_text(&config.to_string()).unwrap().user(Some("main")));
    assert!(
        error.ends_with("needs the cluster \"gone\", which is missing"),
        "{error}"
    );
}

#[tokio::test]
async fn a_relative_command_is_in_the_folder_of_the_file() {
    let folder = Folder::new();
    let content = format!(
        "#!/bin/sh\n{}\n",
        write(&credential(&json!({ "token": "here" })))
    );
    script(&folder.join("bin/login"), &content);
    let exec = json!({ "apiVersion": V1, "command": "./bin/login" });
    assert_eq!(
        run_exec(&folder, exec).await.unwrap().token.as_str(),
        "here"
    );
}

#[tokio::test]
async fn what_a_command_must_not_write_is_an_error_without_it() {
    let other =
        json!({ "apiVersion": BETA, "kind": "ExecCredential", "status": { "token": "SECRET" } });
    let kind = json!({ "apiVersion": V1, "kind": "SECRET", "status": { "token": "SECRET" } });
    let time = json!({ "token": "SECRET", "expirationTimestamp": "SECRET" });
    let certificate = json!({ "clientCertificateData": "SECRET", "clientKeyData": "SECRET" });
    for (output, problem) in [
        (json!("SECRET"), "what it wrote is not an ExecCredential"),
        (kind, "what it wrote is not an ExecCredential"),
        (
            other,
            "what it wrote is not of client.authentication.k8s.io/v1",
        ),
        (
            json!({ "apiVersion": V1, "kind": "ExecCredential" }),
            "what it wrote has no status",
        ),
        (credential(&json!({ "token": "" })), "it gave no token"),
        (
            credential(&json!({ "token": ["SECRET"] })),
            "in what it wrote, status.token is not a text",
        ),
        (
            credential(&certificate),
            "it gave a client certificate, and a token is needed",
        ),
        (
            credential(&time),
            "in what it wrote, status.expirationTimestamp is not a time",
        ),
    ] {
        let error = run(&write(&output)).await.unwrap_err();
        assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
        let error = error.to_string();
        let expected = format!("user \"me\" of context \"main\": its command \"sh\": {problem}");
        assert!(error.ends_with(&expected), "{error}");
    }
    let error = message(run("echo SECRET").await);
    assert!(
        error.ends_with("its command \"sh\": what it wrote is not JSON"),
        "{error}"
    );
}

#[tokio::test]
async fn a_command_that_fails_is_named_by_its_code() {
    let error = message(run("echo SECRET; exit 3").await);
    assert!(
        error.ends_with("its command \"sh\": it failed (exit status: 3)"),
        "{error}"
    );
    let error = message(run("kill -9 $$").await);
    assert!(
        error.ends_with("its command \"sh\": it failed (signal: 9 (SIGKILL))"),
        "{error}"
    );
}

#[tokio::test]
async fn a_command_that_writes_without_end_is_ended() {
    let error = message(run("exec yes").await);
    assert!(
        error.ends_with("its command \"sh\": it printed more than 1 MiB"),
        "{error}"
    );
}

#[tokio::test]
async fn p01_a_missing_command_comes_with_its_install_hint_in_quotes() {
    let hint = format!("get it\u{1b}[31m \n\tat\u{202e} home {}", "x".repeat(600));
    let exec = json!({ "apiVersion": V1, "command": "no-such-command-here", "installHint": hint });
    let error = message(run_exec(&Folder::new(), exec).await);
    let (_, hint) = error
        .split_once("it is not installed, or not on PATH; the kubeconfig says ")
        .unwrap();
    assert!(
        hint.starts_with("\"get it\\u{1b}[31m \\n\\tat\\u{202e} home xxx"),
        "{hint}"
    );
    assert!(hint.ends_with("x…\"") && hint.len() < 240, "{hint}");

    let exec = json!({ "apiVersion": V1, "command": "no-such-command-here" });
    let error = message(run_exec(&Folder::new(), exec).await);
    assert!(
        error
            .ends_with("its command \"no-such-command-here\": it is not installed, or not on PATH"),
        "{error}"
    );
}

#[tokio::test]
async fn a_dropped_run_ends_the_command() {
    let folder = Folder::new();
    let fifo = folder.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    // The command holds the pipe open as long as it lives.
    let script = format!(
        "exec 3>'{}'; echo started >&3; exec sleep 600",
        fifo.display()
    );
    let exec = shell(&script);
    let running = tokio::spawn(async move { run_exec(&folder, exec).await.map(drop) });

    let (started, waits) = tokio::sync::oneshot::channel();
    let reader = std::thread::spawn(move || {
        use std::io::{BufRead, BufReader, Read};
        let mut pipe = BufReader::new(fs::File::open(fifo).unwrap());
        let mut line = String::new();
        pipe.read_line(&mut line).unwrap();
        started.send(line).unwrap();
        // The end of the pipe is the end of the command.
        pipe.read_to_string(&mut String::new()).unwrap()
    });
    assert_eq!(waits.await.unwrap(), "started\n");
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert_eq!(reader.join().unwrap(), 0);
}

#[test]
fn an_unusable_exec_entry_is_an_error_at_once() {
    for (exec, problem) in [
        (
            json!({ "apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "x" }),
            "exec.apiVersion is \"client.authentication.k8s.io/v1alpha1\", and only \
             client.authentication.k8s.io/v1 and client.authentication.k8s.io/v1beta1 are known",
        ),
        (
            json!({ "apiVersion": V1, "command": "x", "interactiveMode": "Always" }),
            "exec.interactiveMode is Always, and there is no terminal here",
        ),
        (
            json!({ "apiVersion": V1, "command": "x", "interactiveMode": "Often" }),
            "exec.interactiveMode is \"Often\"",
        ),
        (json!({ "apiVersion": V1 }), "exec has no command"),
        (
            json!({ "apiVersion": V1, "command": "x", "args": [["SECRET"]] }),
            "exec.args[0] is not a text",
        ),
        (
            json!({ "apiVersion": V1, "command": "x", "env": [{ "value": "SECRET" }] }),
            "a variable in exec.env has no name",
        ),
    ] {
        let error = message(user(&Folder::new(), &json!({ "exec": exec }).to_string()));
        let expected = format!("user \"me\" of context \"main\": {problem}");
        assert!(error.ends_with(&expected), "{error}");
    }
}
