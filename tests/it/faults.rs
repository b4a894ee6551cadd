//! Faults of the token endpoint, and what a person reads of them.

use std::time::Duration;

use runai_auth::tower_bearer::Kind;
use runai_fake::{Behaviour, Fault, TokenShape};
use test_support::Scratch;

use crate::support::{CLUSTERS, SECRET, Setup, Wire, authenticate, chain, kind, setup, setup_over};

/// One request against a token endpoint that behaves like this: the kind of the error, and its text
/// with the URL as `BASE`.
async fn fails(setup: &Setup, behaviour: Behaviour) -> (Kind, String) {
    // Credentials of its own, so that no case is in the backoff of the one before.
    let auth = authenticate(&setup.fake, &setup.clock, SECRET);
    setup.fake.on_token(behaviour);
    let error = auth.cache().token().await.unwrap_err();
    let text = chain(&error).replace(setup.fake.url(), "BASE");
    assert!(!text.contains(SECRET), "{text}");
    (error.kind().clone(), text)
}

#[tokio::test]
async fn e01_each_fault_has_its_own_error() {
    let setup = setup().await;
    let huge_page = format!("<html>{}", "x".repeat(5000));
    for (behaviour, expected, says) in [
        (
            Behaviour::status(500),
            Kind::Unavailable,
            "BASE cannot give a token to application \"ci-bot\" at present (500, \"Something went wrong.\")",
        ),
        (
            Behaviour::status(502).body("text/html", "<html>"),
            Kind::Unavailable,
            "at present (502)",
        ),
        (
            Behaviour::status(503),
            Kind::Unavailable,
            "(503, \"Please try again in few minutes.\")",
        ),
        (Behaviour::status(504), Kind::Unavailable, "at present (504"),
        (Behaviour::status(408), Kind::Unavailable, "at present (408"),
        (Behaviour::status(429), Kind::Unavailable, "at present (429"),
        (
            Behaviour::status(400),
            Kind::InvalidCredentials,
            "BASE refused application \"ci-bot\" (400, \"Required parameter is missing\"): check the application's name and its secret key",
        ),
        (
            Behaviour::status(401),
            Kind::InvalidCredentials,
            "refused application \"ci-bot\" (401",
        ),
        (
            Behaviour::status(403),
            Kind::InvalidCredentials,
            "refused application \"ci-bot\" (403",
        ),
        (
            Behaviour::status(404),
            Kind::Malformed,
            "there is no /api/v1/token at BASE (404): check that the URL is the control plane's own",
        ),
        (
            Behaviour::fault(Fault::Reset),
            Kind::Unavailable,
            "the exchange with BASE broke off",
        ),
        (
            Behaviour::fault(Fault::Close),
            Kind::Unavailable,
            "the exchange with BASE broke off",
        ),
        (
            Behaviour::fault(Fault::ResetAfter(20)),
            Kind::Unavailable,
            "the exchange with BASE broke off",
        ),
        (
            Behaviour::fault(Fault::Truncate(20)),
            Kind::Unavailable,
            "the exchange with BASE broke off",
        ),
        (
            Behaviour::empty(),
            Kind::Malformed,
            "its answer is not the JSON of a token",
        ),
        (
            Behaviour::html(),
            Kind::Malformed,
            "BASE answered a token request with a web page",
        ),
        (Behaviour::json(huge_page), Kind::Malformed, "a web page"),
        (
            Behaviour::json("[]"),
            Kind::Malformed,
            "not the JSON of a token",
        ),
        (
            Behaviour::json("{\"accessToken\":\"t"),
            Kind::Malformed,
            "not the JSON of a token",
        ),
        (
            Behaviour::json("{\"expiresIn\":60}"),
            Kind::Malformed,
            "its answer has no access token",
        ),
        (
            Behaviour::token(TokenShape::ExpiresIn((-1).into())),
            Kind::Malformed,
            "its token's lifetime is not a positive number",
        ),
    ] {
        let (kind, text) = fails(&setup, behaviour.clone()).await;
        assert_eq!(kind, expected, "{behaviour:?}: {text}");
        assert!(text.contains(says), "{behaviour:?}: {text}");
    }
    // An odd content type or status does not make it a failure.
    for behaviour in [
        Behaviour::json("{\"accessToken\":\"t\"}")
            .header("content-type", "text/plain; charset=latin1"),
        Behaviour::status(201).body("application/json", "{\"accessToken\":\"t\"}"),
    ] {
        let auth = authenticate(&setup.fake, &setup.clock, SECRET);
        setup.fake.on_token(behaviour);
        auth.cache().token().await.unwrap();
    }
}

#[tokio::test]
async fn e04_a_200_with_an_error_member_is_a_failure() {
    let setup = setup().await;
    for (error, expected) in [
        ("invalid_client", Kind::InvalidCredentials),
        ("unauthorized_client", Kind::InvalidCredentials),
        ("invalid_grant", Kind::InvalidCredentials),
        ("odd", Kind::Malformed),
    ] {
        let answer = format!("{{\"accessToken\":\"t\",\"error\":\"{error}\"}}");
        let (kind, text) = fails(&setup, Behaviour::json(answer)).await;
        assert_eq!(kind, expected, "{text}");
        assert!(
            text.contains(&format!("with the error \"{error}\"")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn e05_the_token_must_be_a_bearer_token() {
    let setup = setup().await;
    for kind in ["\"mac\"", "\"\"", "7"] {
        let answer = format!("{{\"accessToken\":\"t\",\"token_type\":{kind}}}");
        let (failed, text) = fails(&setup, Behaviour::json(answer)).await;
        assert_eq!(failed, Kind::Malformed, "{text}");
        assert!(text.contains("its token is not a bearer token"), "{text}");
    }
    for kind in ["\"bearer\"", "\"Bearer\"", "\"BEARER\"", "null"] {
        let auth = authenticate(&setup.fake, &setup.clock, SECRET);
        let answer = format!("{{\"accessToken\":\"t\",\"token_type\":{kind}}}");
        setup.fake.on_token(Behaviour::json(answer));
        auth.cache().token().await.unwrap();
    }
}

#[tokio::test]
async fn e01_each_fault_before_http_has_its_own_error() {
    // Nothing listens.
    let stopped = setup().await;
    stopped.fake.shutdown().await;
    let error = stopped.auth.cache().token().await.unwrap_err();
    assert!(
        chain(&error).contains("nothing listens at http://127.0.0.1"),
        "{}",
        chain(&error)
    );
    // The certificate is not trusted.
    let tls = setup_over(Wire::Http2).await;
    let distrusting = runai_auth::ControlPlane::new(tls.fake.url())
        .unwrap()
        .authenticate_with(runai_auth::Credentials::client("ci-bot", SECRET), |cache| {
            cache.attempts(1)
        });
    let error = distrusting.cache().token().await.unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("is not trusted: if its CA is a private one"),
        "{text}"
    );
    assert_eq!(tls.fake.token_requests(), 0);
    // It does not speak TLS.
    let plain = setup().await;
    let url = plain.fake.url().replace("http:", "https:");
    let tls = runai_auth::ControlPlane::new(&url)
        .unwrap()
        .authenticate_with(runai_auth::Credentials::client("ci-bot", SECRET), |cache| {
            cache.attempts(1)
        });
    let error = tls.cache().token().await.unwrap_err();
    assert!(
        chain(&error).contains("does not speak TLS"),
        "{}",
        chain(&error)
    );
    // No resolver is asked for a name below `invalid`.
    let unknown = runai_auth::ControlPlane::new_insecure("http://no-such-host.invalid")
        .unwrap()
        .authenticate_with(runai_auth::Credentials::client("ci-bot", SECRET), |cache| {
            cache.attempts(1)
        });
    let error = unknown.cache().token().await.unwrap_err();
    assert!(
        chain(&error).contains("is unknown: check the URL"),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn e02_retry_after_is_honoured_up_to_its_cap() {
    for (header, secs) in [("120", 120), ("86400", 300)] {
        let setup = setup().await;
        setup
            .fake
            .on_token(Behaviour::status(429).header("retry-after", header));
        let error = setup.auth.cache().token().await.unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(secs)));
    }
}

#[tokio::test]
async fn e03_a_wrong_secret_costs_a_bounded_number_of_calls() {
    let setup = setup().await;
    assert!(setup.fake.rotate_secret("ci-bot", "another"));
    for _ in 0..500 {
        let error = setup.get(CLUSTERS).await.unwrap_err();
        assert_eq!(*kind(&error), Kind::InvalidCredentials);
    }
    assert_eq!(setup.fake.token_requests(), 1);
    for _ in 0..600 {
        setup.advance(1);
        setup.get(CLUSTERS).await.unwrap_err();
    }
    // 10 s doubling to 5 min: at 0, 10, 30, 70, 150, 310 and 610 s.
    assert_eq!(setup.fake.token_requests(), 6);
}

#[tokio::test]
async fn e06_a_token_that_is_not_a_header_is_an_error_that_does_not_show_it() {
    let setup = setup().await;
    for (token, says) in [
        (
            "t0ken\r\nX-Evil: 1".to_owned(),
            "a character that may not stand in a header (at byte 5)",
        ),
        (
            "t0ken-\u{fc}".to_owned(),
            "may not stand in a header (at byte 6)",
        ),
        (
            "t0ken two".to_owned(),
            "may not stand in a header (at byte 5)",
        ),
        (
            "t0ken".repeat(10_000),
            "50000 bytes long, more than the 32768",
        ),
        ("t0ken".repeat(220_000), "more than 1024 KiB"),
        (String::new(), "the token is empty"),
    ] {
        let (kind, text) = fails(&setup, Behaviour::token(TokenShape::Raw(token))).await;
        assert_eq!(kind, Kind::Malformed);
        assert!(text.contains(says), "{text}");
        assert!(!text.contains("t0ken"), "{text}");
    }
}

#[tokio::test]
async fn e07_an_endless_answer_meets_the_cap_and_a_dripping_one_the_time_out() {
    let setup = setup().await;
    let (kind, text) = fails(&setup, Behaviour::huge(2 * 1024 * 1024)).await;
    assert_eq!(kind, Kind::Malformed);
    assert!(
        text.contains("BASE answered a token request with more than 1024 KiB"),
        "{text}"
    );
    let dripping = Behaviour::huge(u64::MAX).drip(1, Duration::from_millis(1));
    times_out(&setup, dripping).await;
}

#[tokio::test]
async fn e09_silence_meets_the_time_out() {
    let setup = setup().await;
    times_out(&setup, Behaviour::fault(Fault::SilenceAfterHeaders)).await;
    times_out(&setup, Behaviour::fault(Fault::Silence)).await;
}

async fn times_out(setup: &Setup, behaviour: Behaviour) {
    setup.fake.clear_journal();
    let passed = async {
        setup
            .fake
            .wait_for(|journal| journal.iter().any(|it| it.body_complete))
            .await;
        setup.clock.advance(Duration::from_secs(10));
    };
    let ((kind, text), ()) = tokio::join!(fails(setup, behaviour), passed);
    assert_eq!(kind, Kind::TimedOut);
    assert!(text.contains("BASE (application \"ci-bot\") did not answer within 10 s: check that it is up and in reach"), "{text}");
}

#[tokio::test]
async fn e08_a_redirect_is_not_followed() {
    let setup = setup().await;
    let elsewhere = self::setup().await;
    for status in [301, 302, 307, 308] {
        let there = format!("{}/api/v1/token", elsewhere.fake.url());
        let (kind, text) = fails(&setup, Behaviour::redirect(status, there)).await;
        assert_eq!(kind, Kind::Malformed);
        assert!(
            text.contains("which is not followed, because the secret would go along"),
            "{text}"
        );
    }
    assert_eq!(elsewhere.fake.journal().len(), 0);
}

#[tokio::test]
async fn the_servers_own_words_are_cut_and_never_repeat_the_secret() {
    let setup = setup().await;
    let long =
        format!("{{\"message\":\"no\n\u{202e}way {}\"}}", "x".repeat(1000)).replace('\n', "\\n");
    let behaviour = Behaviour::status(401).body("application/json", long);
    let (_, text) = fails(&setup, behaviour).await;
    assert!(
        text.contains("(401, \"no\\n\\u{202e}way xxx") && text.contains("xxx…\")"),
        "{text}"
    );
    assert!(text.len() < 600, "{text}");
    let echo = format!("{{\"message\":\"wrong secret {SECRET}\"}}");
    let behaviour = Behaviour::status(401).body("application/json", echo);
    let (_, text) = fails(&setup, behaviour).await;
    assert!(
        text.contains("(401, (text that repeats a secret))"),
        "{text}"
    );
    let there = format!("https://elsewhere.example/token?secret={SECRET}");
    let (_, text) = fails(&setup, Behaviour::redirect(307, there)).await;
    assert!(
        text.contains("to \"https://elsewhere.example/token\" (307)"),
        "{text}"
    );
}

#[tokio::test]
async fn e13_a_rotated_secret_file_is_used_by_the_next_fetch() {
    let setup = setup().await;
    let scratch = Scratch::new();
    let path = scratch.write("secret", format!("{SECRET}\n"));
    let clock = setup.clock.clone();
    let auth = runai_auth::ControlPlane::new(setup.fake.url())
        .unwrap()
        .authenticate_with(
            runai_auth::Credentials::client("ci-bot", runai_auth::Secret::file(&path)),
            |cache| cache.clock(clock).attempts(1),
        );
    auth.cache().token().await.unwrap();
    assert!(setup.fake.rotate_secret("ci-bot", "another"));
    scratch.write("secret", "another\n");
    setup.advance(3600);
    auth.cache().token().await.unwrap();
    // Without a file the last good secret is used on.
    scratch.remove("secret");
    setup.advance(3600);
    auth.cache().token().await.unwrap();
    let journal = setup.fake.journal();
    let secrets: Vec<_> = journal
        .iter()
        .map(|it| it.body.ends_with(b"another\"}"))
        .collect();
    assert_eq!(secrets, [false, true, true]);
}
