//! P04: whatever lies at a path that the command reads, it answers at once, and names the path.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
    process::Command,
    time::Duration,
};

use test_support::{Program, Scratch, wait_for};
use tokio::time::timeout;

use crate::support::{CLUSTERS, Proxy, command, get_with};

/// Nobody listens there: the files come first.
const URL: &str = "https://127.0.0.1:9";

/// Far longer than it takes, and far less than forever.
const SOON: Duration = Duration::from_secs(20);

fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

/// What is not a regular file, and the words for it.
const BAD: [&str; 4] = ["a pipe", "a device", "a directory", "a socket"];

fn make(what: &str, path: &Path) {
    match what {
        "a pipe" => make_pipe(path),
        "a device" => symlink("/dev/zero", path).unwrap(),
        "a directory" => fs::create_dir(path).unwrap(),
        _ => drop(UnixListener::bind(path).unwrap()),
    }
}

fn token(arguments: &[&str]) -> Program {
    command(&[&["token"], arguments].concat()).var("RUNAI_BASE_URL", URL)
}

/// A program that reads the file at a path, how the path is named there, and its exit code.
struct Place {
    name: &'static str,
    code: i32,
    program: fn(&Scratch, &str) -> Program,
}

const PLACES: [Place; 20] = [
    Place {
        name: "RUNAI_CLIENT_ID_FILE",
        code: 2,
        program: |_, bad| {
            token(&[])
                .var("RUNAI_CLIENT_ID_FILE", bad)
                .var("RUNAI_CLIENT_SECRET", "s3cr3t")
        },
    },
    Place {
        name: "RUNAI_CLIENT_SECRET_FILE",
        code: 2,
        program: |_, bad| token(&["--client-id", "x"]).var("RUNAI_CLIENT_SECRET_FILE", bad),
    },
    Place {
        name: "--client-secret-file",
        code: 2,
        program: |_, bad| token(&["--client-id", "x", "--client-secret-file", bad]),
    },
    Place {
        name: "--password-file",
        code: 2,
        program: |_, bad| token(&["--method=password", "--username=x", "--password-file", bad]),
    },
    Place {
        name: "--token-file",
        code: 2,
        program: |_, bad| token(&["--method=token-file", "--token-file", bad]),
    },
    Place {
        name: "RUNAI_CREDENTIALS",
        code: 3,
        program: |_, bad| token(&[]).var("RUNAI_CREDENTIALS", bad),
    },
    Place {
        name: "client-secret",
        code: 3,
        program: |scratch, _| {
            scratch.write("client-id", "ci-bot");
            token(&[]).var("RUNAI_CREDENTIALS", scratch.root())
        },
    },
    Place {
        name: "--ca-file",
        code: 2,
        program: |_, bad| token(&["--ca-file", bad]).application(URL, "x", "y"),
    },
    Place {
        name: "check --ca-file",
        code: 2,
        program: |_, bad| command(&["check", "--ca-file", bad]).application(URL, "x", "y"),
    },
    Place {
        name: "--client-cert",
        code: 2,
        program: |_, bad| {
            token(&["--client-cert", bad, "--client-key", "/dev/null"]).application(URL, "x", "y")
        },
    },
    Place {
        name: "--client-key",
        code: 2,
        program: |scratch, bad| {
            let chain = scratch.write("chain.pem", "nothing");
            token(&["--client-cert", &chain, "--client-key", bad]).application(URL, "x", "y")
        },
    },
    Place {
        name: "SSL_CERT_FILE",
        code: 1,
        program: |_, bad| {
            token(&[])
                .application(URL, "x", "y")
                .var("SSL_CERT_FILE", bad)
        },
    },
    Place {
        name: "--kubeconfig",
        code: 3,
        program: |_, bad| token(&["--method=kubeconfig", "--kubeconfig", bad]),
    },
    Place {
        name: "KUBECONFIG",
        code: 3,
        program: |_, bad| token(&[]).var("KUBECONFIG", bad),
    },
    Place {
        name: "tokenFile",
        code: 3,
        program: |scratch, bad| {
            let config = scratch.write(
                "config",
                format!(
                    "current-context: a\ncontexts: [{{name: a, context: {{user: u}}}}]\n\
                     users: [{{name: u, user: {{tokenFile: '{bad}'}}}}]\n"
                ),
            );
            token(&["--method=kubeconfig", "--kubeconfig", &config])
        },
    },
    Place {
        name: "certificate-authority",
        code: 3,
        program: |scratch, bad| {
            let config = scratch.write(
                "config",
                format!(
                    "current-context: a\n\
                     contexts: [{{name: a, context: {{user: u, cluster: c}}}}]\n\
                     clusters: [{{name: c, cluster: {{certificate-authority: '{bad}'}}}}]\n\
                     users: [{{name: u, user: {{exec: {{provideClusterInfo: true, command: x, \
                     apiVersion: client.authentication.k8s.io/v1}}}}}}]\n"
                ),
            );
            token(&["--method=kubeconfig", "--kubeconfig", &config])
        },
    },
    Place {
        name: "authentication.json",
        code: 3,
        program: |scratch, _| {
            let config = format!(r#"{{"control_plane":{{"url":"{URL}"}}}}"#);
            scratch.write("config.json", config);
            token(&["--method=cli"]).var("RUNAI_CLI_CONFIG_PATH", scratch.root())
        },
    },
    Place {
        name: "config.json",
        code: 3,
        program: |scratch, _| {
            scratch.write("authentication.json", r#"{"accessToken":"x"}"#);
            token(&["--method=cli"]).var("RUNAI_CLI_CONFIG_PATH", scratch.root())
        },
    },
    Place {
        name: "--inbound-key-file",
        code: 2,
        program: |_, bad| {
            command(&["proxy", "--listen=127.0.0.1:0", "--inbound-key-file", bad])
                .application(URL, "x", "y")
        },
    },
    Place {
        name: "proxy RUNAI_CLIENT_SECRET_FILE",
        code: 2,
        program: |_, bad| {
            command(&["proxy", "--listen=127.0.0.1:0", "--client-id=x"])
                .var("RUNAI_BASE_URL", URL)
                .var("RUNAI_CLIENT_SECRET_FILE", bad)
        },
    },
];

#[tokio::test]
async fn p04_what_is_not_a_regular_file_is_an_error_at_once() {
    for place in PLACES {
        for what in BAD {
            let name = place.name;
            let scratch = Scratch::new();
            // Some places name their files themselves.
            let file = match name {
                "client-secret" | "authentication.json" | "config.json" => name,
                _ => "bad",
            };
            let path = scratch.path(file);
            make(what, &path);
            let path = path.to_str().unwrap();
            let program = (place.program)(&scratch, path);
            let ended = timeout(SOON, program.end()).await;
            let ended = ended.unwrap_or_else(|_| panic!("{name}: {what} hangs"));
            // `check` prints its report.
            let text = format!("{}{}", ended.stdout, ended.stderr);
            assert_eq!(ended.code(), place.code, "{name}: {text}");
            let says = match (name, what) {
                ("RUNAI_CREDENTIALS", "a directory") => format!("{path}/client-id does not exist"),
                // The kubeconfig names it, so its name is a foreign text.
                ("tokenFile", _) => format!("\"{path}\" is {what}, not a regular file"),
                _ => format!("{path} is {what}, not a regular file"),
            };
            assert!(text.contains(&says), "{name}: {text}");
            let takes_standard_input = name.ends_with("SECRET_FILE")
                || ["--client-secret-file", "--password-file"].contains(&name);
            if what == "a pipe" && takes_standard_input {
                assert!(text.contains("hint: Give `-`"), "{name}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn p04_a_key_file_that_becomes_a_pipe_holds_up_no_request() {
    let fake = runai_fake::RunaiFake::builder().start().await.unwrap();
    let scratch = Scratch::new();
    let file = scratch.write("key", "the-first-key-of-all\n");
    let proxy = Proxy::of(&fake, &["--inbound-key-file", &file]).await;
    let answers = async |key: &str| {
        let header = [("x-runai-auth-key", key)];
        let url = proxy.url(CLUSTERS);
        let answer = timeout(Duration::from_secs(5), get_with(&url, &header)).await;
        answer.expect("a request hangs").status == 200
    };
    assert!(answers("the-first-key-of-all").await);
    scratch.remove("key");
    make_pipe(&scratch.path("key"));
    // The file is read once a second: the pipe is met more than once.
    for _ in 0..25 {
        assert!(answers("the-first-key-of-all").await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scratch.remove("key");
    scratch.write("key", "the-second-key-of-all\n");
    wait_for("the new key counts", async || {
        answers("the-second-key-of-all").await
    })
    .await;
    assert!(!answers("the-first-key-of-all").await);
}

#[tokio::test]
async fn p04_an_endless_standard_input_ends() {
    let program = Program::at("sh").args(&[
        "-c",
        &format!(
            "exec '{}' token --base-url {URL} --client-id x --client-secret-file - </dev/zero",
            env!("CARGO_BIN_EXE_runai-auth")
        ),
    ]);
    let ended = timeout(SOON, program.end()).await.expect("it hangs");
    assert_eq!(ended.code(), 2, "{ended:?}");
    assert!(ended.stderr.contains("larger than 64 KiB"), "{ended:?}");
}
