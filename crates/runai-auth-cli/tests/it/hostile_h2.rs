//! What an HTTP/2 server says when it goes away, and what its certificate says of itself.

use test_support::{Program, Scratch};

use crate::{
    h2_server::{H2Server, TOKEN},
    hostile::{check_text, is_log},
    support::{CLUSTERS, ID, Proxy, SECRET, command, raw},
};

/// What the server says: it repeats what it must not, or it is endless, or both.
fn said() -> [String; 3] {
    [
        format!("Sorry\nhint: evil \u{1b}[31m you sent Bearer {TOKEN}"),
        format!("the secret is {SECRET}"),
        "x".repeat(10_000),
    ]
}

fn check_log(text: &str) {
    check_text(text);
    assert!(!text.contains(TOKEN), "{text}");
    for line in text.lines() {
        assert!(is_log(line), "{line}");
    }
}

fn with_ca(program: Program, scratch: &Scratch, server: &H2Server) -> Program {
    let ca = scratch.write("ca.pem", &server.pem);
    program
        .application(&server.url, ID, SECRET)
        .var("RUNAI_AUTH_CA_FILE", ca)
}

#[tokio::test]
async fn p01_what_an_http2_server_says_when_it_goes_away_is_filtered() {
    let scratch = Scratch::new();
    for said in said() {
        let server = H2Server::start("server", &said).await;
        let check = command(&["check", "-vvv", "--timeout", "2s"]);
        let ended = with_ca(check, &scratch, &server).end().await;
        assert_eq!(ended.code(), 4, "{ended:?}");
        check_text(&ended.stdout);
        assert!(!ended.stdout.contains(TOKEN), "{}", ended.stdout);
        let report = &ended.stdout;
        assert!(report.contains("✗ api          the call to "), "{report}");
        check_log(&ended.stderr);

        for verbosity in ["-v", "-vvv"] {
            let arguments = [
                "proxy",
                "--listen",
                "127.0.0.1:0",
                "--timeout=2s",
                verbosity,
            ];
            let proxy = Proxy::start(with_ca(command(&arguments), &scratch, &server)).await;
            proxy.get(CLUSTERS).await.expect(502, "upstream");
            proxy.signal(test_support::Signal::TERM);
            let log = proxy.end().await.stderr;
            check_log(&log);
            assert!(log.contains("the control plane did not answer"), "{log}");
        }
    }
}

#[tokio::test]
async fn p01_what_breaks_an_answer_off_is_filtered() {
    let scratch = Scratch::new();
    for said in said() {
        let server = H2Server::start_breaking_off(&said).await;
        let arguments = ["proxy", "--listen", "127.0.0.1:0", "-vvv"];
        let proxy = Proxy::start(with_ca(command(&arguments), &scratch, &server)).await;
        let head = format!("GET {CLUSTERS} HTTP/1.1\r\nhost: {}\r\n\r\n", proxy.addr());
        // How much of the answer comes through is a matter of time.
        raw(proxy.addr(), head.as_bytes()).await;
        proxy.signal(test_support::Signal::TERM);
        let log = proxy.end().await.stderr;
        check_log(&log);
        assert!(log.contains("a connection broke"), "{log}");
    }
}

#[tokio::test]
async fn p01_the_names_in_a_certificate_are_filtered() {
    let scratch = Scratch::new();
    let secret = scratch.write("secret", SECRET);
    let name = format!("for {SECRET}");
    let server = H2Server::start(&name, "").await;
    let check = || with_ca(command(&["check"]), &scratch, &server);
    for (program, shown) in [
        (check(), "(text that repeats a secret)"),
        // A file is read when its secret is needed, after the connection.
        (
            check()
                .without("RUNAI_CLIENT_SECRET")
                .var("RUNAI_CLIENT_SECRET_FILE", &secret),
            "(text that repeats a secret)",
        ),
        // The secret is not known without the id.
        (check().without("RUNAI_CLIENT_ID"), "names are not shown"),
    ] {
        let ended = program.end().await;
        let report = ended.stdout;
        assert!(report.contains("✓ certificate  "), "{report}");
        assert!(report.contains(shown), "{report}");
        assert!(!report.contains(SECRET), "{report}");
    }
    let server = H2Server::start("harmless", "").await;
    let ended = with_ca(command(&["check"]), &scratch, &server).end().await;
    assert!(ended.stdout.contains("\"CN=harmless\", by "), "{ended:?}");
}
