//! Nothing that is logged, printed or returned as an error shows a token, a secret or a token's payload.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

use std::{
    io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use runai_auth::{Auth, BoxError, Client, ControlPlane, Credentials};
use runai_fake::{Behaviour, Fault, RunaiFake, TokenShape};
use tower::ServiceExt;

const SECRET: &str = "s3cr3t-of-the-audit";
const RAW: &str = "r4w-t0ken-of-the-audit";

/// All that is logged, at every level, of every crate.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A call through a client of its own, and all that can be printed of it.
async fn call(fake: &RunaiFake, auth: &Auth) -> String {
    let api: Client<Full<Bytes>> = auth.client().unwrap();
    let body = Full::from(r#"{"name":"w"}"#);
    let request = Request::post(format!("{}/api/v1/workloads/trainings", fake.url()))
        .body(body)
        .unwrap();
    let result = api.clone().oneshot(request).await;
    let shown = match result {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let read = body.collect().await.map(|body| body.to_bytes());
            format!("{head:?} {read:?}")
        }
        Err(error) => chain(&error),
    };
    let token = auth.cache().peek();
    let waiting = auth.cache().token();
    format!(
        "{shown} {api:#?} {auth:#?} {:#?} {token:#?} {waiting:#?}",
        auth.status()
    )
}

fn chain(error: &BoxError) -> String {
    let mut text = format!("{error:#?} {error}");
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text} {error:#?} {error}");
        next = error.source();
    }
    text
}

#[tokio::test]
async fn f02_no_secret_shows_anywhere_at_any_level() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();

    let mut printed = String::new();
    let mut secrets = vec![SECRET.to_owned(), RAW.to_owned()];
    for tls in [false, true] {
        let fake = RunaiFake::builder()
            .application("ci-bot", SECRET)
            .tls(tls)
            .start()
            .await
            .unwrap();
        let authenticate = |secret: &str| {
            let mut control_plane = ControlPlane::new(fake.url()).unwrap();
            if let Some(pem) = fake.ca_pem() {
                control_plane = control_plane.root_certificates_pem(pem.as_bytes()).unwrap();
            }
            let credentials = Credentials::from(Credentials::client("ci-bot", secret));
            printed_of(&control_plane, &credentials);
            control_plane.authenticate_with(credentials, |cache| cache.attempts(1))
        };
        // A success, a rejection with a retry, and a lasting rejection.
        let auth = authenticate(SECRET);
        printed += &call(&fake, &auth).await;
        fake.revoke_all();
        printed += &call(&fake, &auth).await;
        fake.always_on_api(Some(Behaviour::status(401)));
        printed += &call(&fake, &auth).await;
        fake.always_on_api(None);
        // It fails, in each way that an answer can, some of which repeat what was sent.
        let echo = format!("{{\"message\":\"no such secret: {SECRET}\"}}");
        for behaviour in [
            Behaviour::status(503),
            Behaviour::status(401).body("application/json", echo),
            Behaviour::html(),
            Behaviour::json(format!("{{\"accessToken\":\"{RAW}")),
            Behaviour::json(format!(
                "{{\"accessToken\":\"{RAW}\",\"error\":\"{SECRET}\"}}"
            )),
            Behaviour::json(format!(
                "{{\"accessToken\":\"{RAW}\",\"expiresIn\":\"{RAW}\"}}"
            )),
            Behaviour::json(format!("{{\"accessToken\":[\"{RAW}\"]}}")),
            Behaviour::redirect(307, format!("https://elsewhere.example/{SECRET}")),
            Behaviour::token(TokenShape::Raw(format!("{RAW}\r\n"))),
            Behaviour::token(TokenShape::Raw(RAW.into())),
            Behaviour::fault(Fault::Reset),
        ] {
            fake.on_token(behaviour);
            printed += &call(&fake, &authenticate(SECRET)).await;
        }
        printed += &call(&fake, &authenticate("wr0ng-secret-of-the-audit")).await;
        secrets.extend(fake.issued().into_iter().map(|issued| issued.token));
    }
    secrets.push("wr0ng-secret-of-the-audit".into());

    // A token's parts are secrets too, and so is the payload in clear.
    let parts: Vec<_> = secrets
        .iter()
        .flat_map(|it| it.trim().split('.'))
        .map(str::to_owned)
        .collect();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    // The head is the same for every JWT and public.
    let is_secret = |part: &&String| part.len() > 8 && !part.starts_with("eyJhbGciOi");
    for part in parts
        .iter()
        .filter(is_secret)
        .chain([&"\"sub\":\"ci-bot\"".to_owned()])
    {
        for (what, text) in [("log", &log), ("printed", &printed)] {
            if let Some(at) = text.find(part.as_str()) {
                let around = text[at.saturating_sub(300)..]
                    .chars()
                    .take(400)
                    .collect::<String>();
                panic!("the {what} shows `{part}`: {around}");
            }
        }
    }
    // What is looked through is really there.
    for expected in [
        "token refreshed",
        "token rejected",
        "token refresh failed; no usable token",
        "TRACE",
        "token_refresh",
    ] {
        assert!(log.contains(expected), "the log lacks {expected}");
    }
    assert!(printed.contains("refused application \"ci-bot\""));
}

/// What is printed of the rest; it panics if a secret is there.
fn printed_of(control_plane: &ControlPlane, credentials: &Credentials) {
    let shown = format!("{control_plane:#?} {credentials:#?}");
    assert!(!shown.contains("secret-of"), "{shown}");
}
