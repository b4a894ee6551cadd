//! What is wrong on the command line or in a variable, as people read it.

use test_support::Program;

use crate::{
    hostile::check_terminal,
    support::{ID, SECRET, command, ended},
};

/// Checks that an error of usage has its two lines and repeats no value.
async fn check(program: Program, error: &str, hint: &str) {
    let (code, stdout, stderr) = ended(program).await;
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    check_terminal(&stderr);
    assert!(!stderr.contains("S3CR3T"), "{stderr}");
    assert_eq!(stderr, format!("error: {error}\nhint: {hint}\n"));
}

#[tokio::test]
async fn p01_errors_of_the_command_line_have_two_lines_and_repeat_no_value() {
    let methods = "The values are application, service-account, password, cli, kubeconfig, token-file, discover";
    let help = "See `runai-auth token --help`";
    for (program, error, hint) in [
        (
            command(&["token"]).var("RUNAI_AUTH_METHOD", "S3CR3T"),
            "the value of --method <METHOD> (or RUNAI_AUTH_METHOD) is not valid",
            methods,
        ),
        (
            command(&["token", "--method", "S3CR3T\nhint: x"]),
            "the value of --method <METHOD> is not valid",
            methods,
        ),
        (
            command(&["token", "--method", "aplication"]),
            "the value of --method <METHOD> is not valid",
            &format!("Did you mean `application`? {methods}"),
        ),
        (
            command(&["token", "S3CR3T"]),
            "an argument is given that no flag takes",
            help,
        ),
        (
            command(&["exec", "S3CR3T"]),
            "an argument is given that no flag takes",
            "Write the command after `--`",
        ),
        (
            command(&["token", "--S3CR3T=S3CR3T"]),
            "an argument is given that no flag takes",
            help,
        ),
        (
            command(&["token", "--clinet-id=S3CR3T"]),
            "there is no flag --clinet-id",
            "Did you mean --client-id?",
        ),
        (
            command(&["token", "--client-secret", "S3CR3T"]),
            "there is no flag --client-secret",
            "Did you mean --client-secret-file?",
        ),
        (
            command(&["token", "-S3CR3T"]),
            "an argument is given that no flag takes",
            help,
        ),
        (
            command(&["token", "--timeout", "1\nhint: x\u{1b}[31m"]),
            "the value of --timeout <TIME> is not valid: expected for example 90s, 10m or 1h30m",
            help,
        ),
        (
            command(&["token", "--timeout"]),
            "--timeout <TIME> lacks its value",
            help,
        ),
        (
            command(&["token", "--timeout=1", "--timeout=2"]),
            "--timeout <TIME> is given twice",
            help,
        ),
        (
            command(&["token", "--client-key=x"]),
            "--client-cert <FILE> is missing",
            help,
        ),
        (
            command(&["proxy"]).var("RUNAI_AUTH_MAX_HEADER_BYTES", "12"),
            "the value of --max-header-bytes <BYTES> (or RUNAI_AUTH_MAX_HEADER_BYTES) is not valid: it is not \
             in 8192..=16777216",
            "See `runai-auth proxy --help`",
        ),
        (
            command(&["proxy"]).var("RUNAI_AUTH_READ_ONLY", "S3CR3T"),
            "the value of --read-only (or RUNAI_AUTH_READ_ONLY) is not valid: value was not a boolean",
            "See `runai-auth proxy --help`",
        ),
        (
            command(&["S3CR3T"]),
            "there is no such command",
            "The commands are token, check, proxy, exec, health",
        ),
        (
            command(&["tokne"]),
            "there is no such command",
            "Did you mean `token`?",
        ),
        (
            command(&["exec"]),
            "<COMMAND>... is missing",
            "See `runai-auth exec --help`",
        ),
        (
            command(&["proxy"]).var("RUNAI_AUTH_LISTEN", "S3CR3T"),
            "the value of --listen is not an address",
            "Write unix:PATH or 127.0.0.1:PORT; port 0 picks a free one",
        ),
        (
            command(&["health"]).var("RUNAI_AUTH_HEALTH_URL", "https://S3CR3T@a"),
            "the value of --url (or RUNAI_AUTH_HEALTH_URL) is not the URL of a proxy",
            "Write http://127.0.0.1:PORT, the address of --health-listen or --admin-listen",
        ),
    ] {
        check(program, error, hint).await;
    }
}

#[tokio::test]
async fn p01_help_shows_no_values_of_variables() {
    let (code, stdout, stderr) =
        ended(command(&["token", "--help"]).var("RUNAI_CLIENT_ID", "S3CR3T\u{1b}[31m")).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("[env: RUNAI_CLIENT_ID]"), "{stdout}");
    assert!(!stdout.contains("S3CR3T"), "{stdout}");
    let (code, stdout, _) = ended(command(&["--version"])).await;
    assert!(stdout.starts_with("runai-auth ") && code == Some(0));
    let (code, stdout, stderr) = ended(command(&[])).await;
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("Usage: runai-auth"), "{stderr}");
}

#[tokio::test]
async fn p01_an_id_that_cannot_be_one_is_not_sent() {
    let scratch = test_support::Scratch::new();
    let url = "http://127.0.0.1:1";
    for (id, error) in [
        ("a\nb", "contains a line break or another control character"),
        (
            "a\u{1}b",
            "contains a line break or another control character",
        ),
        (
            "a\u{9b}b",
            "contains a line break or another control character",
        ),
        (&*"a".repeat(1025), "is longer than 1 KiB"),
    ] {
        let file = scratch.write("id", id);
        for (program, name) in [
            (
                command(&["token", "--client-id", id]).var("RUNAI_CLIENT_SECRET", SECRET),
                "the client id",
            ),
            (
                command(&["token"]).application(url, id, SECRET),
                "the client id",
            ),
            (
                command(&["token"])
                    .application(url, ID, SECRET)
                    .without("RUNAI_CLIENT_ID")
                    .var("RUNAI_CLIENT_ID_FILE", &file),
                "RUNAI_CLIENT_ID_FILE: the client id",
            ),
            (
                command(&["token", "--method=password", "--username", id])
                    .var("RUNAI_AUTH_PASSWORD", "x"),
                "the user name",
            ),
        ] {
            let (code, _, stderr) = ended(program.var("RUNAI_BASE_URL", url)).await;
            assert_eq!(code, Some(2), "{stderr}");
            check_terminal(&stderr);
            let one_line = stderr.starts_with(&format!("error: {name} {error}\nhint: "));
            // A file with a secret or an id has one line.
            assert!(
                one_line
                    || name.contains("FILE") && stderr.starts_with("error: RUNAI_CLIENT_ID_FILE: "),
                "{stderr}"
            );
        }
    }
    // The NUL can be in a file alone.
    let file = scratch.write("id", "a\0b");
    let program = command(&["token"])
        .application(url, ID, SECRET)
        .without("RUNAI_CLIENT_ID");
    let (code, _, stderr) = ended(program.var("RUNAI_CLIENT_ID_FILE", &file)).await;
    assert_eq!(code, Some(2), "{stderr}");
}

#[tokio::test]
async fn an_id_loses_the_line_break_at_its_end() {
    let fake = crate::support::fake().await;
    let program = command(&["token"]).application(fake.url(), &format!("{ID}\r\n"), SECRET);
    let (code, _, stderr) = ended(program).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}
