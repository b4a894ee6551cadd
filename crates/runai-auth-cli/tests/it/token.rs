//! `runai-auth token`.

use std::time::Duration;

use serde_json::Value;

use test_support::Scratch;

use crate::support::{ID, SECRET, command, fake};

#[tokio::test]
async fn a_token_is_printed_as_it_is_as_a_header_or_as_json() {
    let fake = fake().await;
    for output in ["plain", "plaintext"] {
        let ended = command(&["token", "-o", output])
            .application(fake.url(), ID, SECRET)
            .end()
            .await;
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        let token = ended.stdout.strip_suffix('\n').unwrap();
        assert!(fake.accepts(token), "{ended:?}");
    }
    let ended = command(&["token", "--output=header"])
        .application(fake.url(), ID, SECRET)
        .end()
        .await;
    let line = ended.stdout.strip_suffix('\n').unwrap();
    assert!(fake.accepts(line.strip_prefix("Authorization: Bearer ").unwrap()));
    let ended = command(&["token", "-o", "json"])
        .application(fake.url(), ID, SECRET)
        .end()
        .await;
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(fake.accepts(json["token"].as_str().unwrap()));
    assert_eq!(json["claims"]["sub"], ID);
    let issued = fake.issued();
    assert_eq!(json["expires_at"], issued.last().unwrap().expires_at);
    let left = json["seconds_left"].as_u64().unwrap();
    assert!((3500..=3600).contains(&left), "{left}");
}

#[tokio::test]
async fn each_place_of_a_secret_and_each_method() {
    let fake = fake().await;
    let scratch = Scratch::new();
    let secret = scratch.write("secret", format!("{SECRET}\n"));
    let password = scratch.write("password", "test-password\n");
    let ended = command(&["token"])
        .application(fake.url(), ID, SECRET)
        .end()
        .await;
    let held = scratch.write("token", &ended.stdout);
    let kubeconfig = scratch.write(
        "kubeconfig",
        format!(
            "current-context: a\ncontexts: [{{name: a, context: {{user: u}}}}, {{name: b, context: {{user: w}}}}]\n\
             users: [{{name: u, user: {{token: wrong}}}}, {{name: w, user: {{token: {}}}}}]\n",
            ended.stdout.trim()
        ),
    );
    let url = fake.url();
    for program in [
        command(&[
            "token",
            "--base-url",
            url,
            "--client-id",
            ID,
            "--client-secret-file",
            &secret,
        ]),
        command(&[
            "token",
            "--base-url",
            url,
            "--client-id",
            ID,
            "--client-secret-file",
            "-",
        ])
        .input(&format!("{SECRET}\n")),
        command(&[
            "token",
            "--base-url",
            url,
            "--client-id",
            ID,
            "--method",
            "service-account",
        ])
        .var("RUNAI_CLIENT_SECRET_FILE", &secret),
        command(&["token", "--method=password", "--username=test-user"])
            .var("RUNAI_BASE_URL", url)
            .var("RUNAI_AUTH_PASSWORD_FILE", &password),
        command(&["token", "--method=token-file"])
            .var("RUNAI_BASE_URL", url)
            .var("RUNAI_AUTH_TOKEN_FILE", &held),
        command(&["token", "--context=b"])
            .var("RUNAI_BASE_URL", url)
            .var("RUNAI_AUTH_METHOD", "kubeconfig")
            .var("RUNAI_AUTH_KUBECONFIG", &kubeconfig),
        command(&["token", "--method=discover", "--token-endpoint=v2"])
            .application(url, ID, SECRET),
        // An empty variable counts as unset.
        command(&["token"])
            .application(url, ID, SECRET)
            .var("RUNAI_CLIENT_SECRET_FILE", "")
            .var("RUNAI_AUTH_CA_FILE", ""),
    ] {
        let ended = program.end().await;
        assert!(fake.accepts(ended.stdout.trim()), "{ended:?}");
    }
}

#[tokio::test]
async fn the_least_time_left_is_asked_for_or_refused() {
    let fake = fake().await;
    let ended = command(&["token", "--min-ttl", "10m"])
        .application(fake.url(), ID, SECRET)
        .end()
        .await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    fake.set_token_lifetime(Duration::from_secs(120));
    let ended = command(&["token", "--min-ttl", "10m"])
        .application(fake.url(), ID, SECRET)
        .end()
        .await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (3, ""));
    assert!(
        ended
            .stderr
            .contains("s left, and a new one does not live longer"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn no_secret_is_logged_at_any_level() {
    let fake = fake().await;
    for format in ["text", "json"] {
        let ended = command(&["token", "-vvv", "--log-format", format])
            .application(fake.url(), ID, SECRET)
            .end()
            .await;
        assert!(ended.stderr.contains("tower_bearer"), "{}", ended.stderr);
        for secret in [SECRET, ended.stdout.trim()] {
            assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
        }
    }
}

#[tokio::test]
async fn help_and_usage() {
    let ended = command(&["--help"]).end().await;
    assert_eq!(ended.code(), 0);
    for part in ["Exit codes:", "token", "check"] {
        assert!(ended.stdout.contains(part), "{}", ended.stdout);
    }
    for args in [
        &[][..],
        &["tokens"],
        &["token", "--no-such"],
        &["token", "--client-cert", "x"],
    ] {
        assert_eq!(command(args).end().await.code(), 2, "{args:?}");
    }
}

#[tokio::test]
async fn a_typing_error_gets_a_suggestion() {
    for (arguments, meant) in [
        (&["tokn"][..], "token"),
        (
            &["token", "--client-secret-fil", "x"],
            "--client-secret-file",
        ),
        (&["proxy", "--read-onyl"], "--read-only"),
    ] {
        let ended = command(arguments).end().await;
        assert_eq!(ended.code(), 2, "{ended:?}");
        assert!(
            ended.stderr.contains("hint: Did you mean "),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains(meant), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_switch_is_true_or_false_and_nothing_else() {
    let fake = fake().await;
    let with = |value| {
        let program = command(&["token"]).application(fake.url(), ID, SECRET);
        program.var("RUNAI_AUTH_REFRESH", value)
    };
    for value in ["1", "true", "YES", "on", "", "0", "False", "no", "off"] {
        let ended = with(value).end().await;
        assert_eq!(ended.code(), 0, "{value}: {}", ended.stderr);
    }
    assert_eq!(with("flase").end().await.code(), 2);
}

#[tokio::test]
async fn an_empty_variable_counts_as_unset() {
    let fake = fake().await;
    for name in [
        "RUNAI_AUTH_METHOD",
        "RUNAI_AUTH_TOKEN_ENDPOINT",
        "RUNAI_AUTH_CLIENT_CERT",
        "RUNAI_AUTH_CLIENT_KEY",
        "RUNAI_AUTH_TIMEOUT",
        "RUNAI_AUTH_OUTPUT",
        "RUNAI_AUTH_MIN_TTL",
        "RUNAI_AUTH_REFRESH",
        "RUNAI_AUTH_LOG_FORMAT",
        "RUNAI_AUTH_VERBOSE",
    ] {
        let program = command(&["token"])
            .application(fake.url(), ID, SECRET)
            .var(name, "");
        let ended = program.end().await;
        assert_eq!(ended.code(), 0, "{name}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn the_id_may_be_in_a_file_as_for_the_library() {
    let fake = fake().await;
    let scratch = Scratch::new();
    let id = scratch.write("id", format!("{ID}\n"));
    let secret = scratch.write("secret", format!("{SECRET}\n"));
    let program = || {
        command(&["token"])
            .var("RUNAI_BASE_URL", fake.url())
            .var("RUNAI_CLIENT_ID_FILE", &id)
            .var("RUNAI_CLIENT_SECRET_FILE", &secret)
    };
    let ended = program().end().await;
    assert!(fake.accepts(ended.stdout.trim()), "{ended:?}");
    let ended = program().var("RUNAI_CLIENT_ID", ID).end().await;
    assert_eq!(ended.code(), 2, "{ended:?}");
    assert!(ended.stderr.contains("RUNAI_CLIENT_ID_FILE"), "{ended:?}");
}
