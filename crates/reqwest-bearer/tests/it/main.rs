//! The middleware in a real reqwest client, against a fake control plane over sockets.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Extensions;
use reqwest::{Body, Certificate, Request, Response, StatusCode};
use reqwest_bearer::BearerAuthMiddleware;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Middleware, Next};
use reqwest_retry::{RetryTransientMiddleware, policies::ExponentialBackoff};
use runai_auth::{
    Auth, AuthOutcome, ControlPlane, Credentials, RequestOptions, tower_bearer,
    tower_bearer::{
        BearerAuthLayer, Kind, SourceError, Token, TokenCache, clock::ManualClock, source_fn,
    },
};
use runai_fake::{Behaviour, Gate, RunaiFake};

const CLUSTERS: &str = "/api/v1/clusters";
const SUBMIT: &str = "/api/v1/workloads/trainings";

struct Setup {
    fake: RunaiFake,
    auth: Auth,
    http: reqwest::Client,
    clock: ManualClock,
}

/// A fake, over TLS or not, and a client that has its CA.
async fn setup_over(tls: bool) -> Setup {
    // The process has none unless it was installed before.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let fake = RunaiFake::builder()
        .application("ci-bot", "s3cr3t")
        .tls(tls)
        .start()
        .await
        .unwrap();
    let mut control_plane = ControlPlane::new(fake.url()).unwrap();
    let mut http = reqwest::Client::builder();
    if let Some(pem) = fake.ca_pem() {
        let ca = Certificate::from_pem(pem.as_bytes()).unwrap();
        http = http.tls_certs_only([ca]).http2_adaptive_window(true);
        control_plane = control_plane.root_certificates_pem(pem.as_bytes()).unwrap();
    }
    let clock = ManualClock::new();
    let ticking = clock.clone();
    let auth = control_plane.authenticate_with(Credentials::client("ci-bot", "s3cr3t"), |cache| {
        cache.clock(ticking).seed(7).attempts(1)
    });
    Setup {
        fake,
        auth,
        http: http.build().unwrap(),
        clock,
    }
}

async fn setup() -> Setup {
    setup_over(false).await
}

impl Setup {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.fake.url())
    }

    /// Another credential for the same server.
    fn another_tenant(&self) -> Auth {
        let credentials = Credentials::client("ci-bot", "s3cr3t");
        let control_plane = ControlPlane::new(self.fake.url()).unwrap();
        control_plane.authenticate(credentials)
    }

    fn bearer(&self) -> BearerAuthMiddleware {
        BearerAuthMiddleware::new(self.auth.layer())
    }

    fn client(&self) -> ClientWithMiddleware {
        ClientBuilder::new(self.http.clone())
            .with(self.bearer())
            .build()
    }

    /// Has a token, which is revoked.
    async fn revoked(&self) -> ClientWithMiddleware {
        let client = self.client();
        let response = client.get(self.url(CLUSTERS)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        self.fake.revoke_all();
        client
    }

    fn sent_to(&self, path: &str) -> Vec<runai_fake::Exchange> {
        let journal = self.fake.journal();
        journal.into_iter().filter(|it| it.path == path).collect()
    }
}

fn stream(pieces: usize, piece: usize) -> Body {
    let pieces = (0..pieces).map(move |at| {
        let byte = u8::try_from(at % 251).unwrap();
        Ok::<_, Infallible>(Bytes::from(vec![byte; piece]))
    });
    Body::wrap_stream(futures_util::stream::iter(pieces))
}

#[tokio::test]
async fn d01_a_revoked_token_is_replaced_inside_the_request() {
    for tls in [false, true] {
        let setup = setup_over(tls).await;
        let client = setup.revoked().await;
        let response = client.get(setup.url(CLUSTERS)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let stamped = response.extensions().get::<AuthOutcome>().unwrap();
        assert_eq!((stamped.rejected(), stamped.generation()), (Some(1), 2));
        assert!(response.headers().contains_key("content-type"));
        assert!(!response.text().await.unwrap().is_empty());
        assert_eq!(
            (setup.fake.token_requests(), setup.fake.api_requests()),
            (2, 3)
        );
    }
}

#[tokio::test]
async fn d06_the_second_rejection_reaches_the_caller_whole() {
    let setup = setup().await;
    let client = setup.revoked().await;
    let no = |text: &str| Behaviour::status(401).body("text/plain", text);
    setup.fake.on_api(no("first"));
    setup.fake.on_api(no("second"));
    let response = client.get(setup.url(CLUSTERS)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let stamped = response.extensions().get::<AuthOutcome>().unwrap();
    assert!(stamped.retried() && stamped.not_retried().is_some());
    assert_eq!(response.text().await.unwrap(), "second");
}

/// A cache whose tokens cost a request through the client that the API is called with.
fn through(http: &reqwest::Client, url: String) -> TokenCache {
    let (http, fetches) = (http.clone(), Arc::new(AtomicUsize::new(0)));
    TokenCache::new(source_fn(move |_| {
        let (http, url, fetches) = (http.clone(), url.clone(), fetches.clone());
        async move {
            let down = |error| SourceError::transient("down").with_source(error);
            let response = http.get(url).send().await.map_err(down)?;
            response.bytes().await.map_err(down)?;
            Ok(Token::new(format!("t{}", fetches.fetch_add(1, SeqCst)))?)
        }
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l06_l07_a_rejections_body_is_read_before_anybody_waits() {
    for tls in [true, false] {
        let setup = setup_over(tls).await;
        let cache = through(&setup.http, setup.url("/api/v1/token-of-ours"));
        setup.fake.on_api(Behaviour::status(200));
        cache.token().await.unwrap();
        let layer = BearerAuthLayer::new(cache);
        let layer = layer.allow(setup.fake.url()).unwrap();
        let client = ClientBuilder::new(setup.http.clone())
            .with(BearerAuthMiddleware::new(layer))
            .build();
        let gate = setup.fake.hold_api_requests(100);
        let page = "n".repeat(4096);
        for _ in 0..101 {
            setup.fake.on_api(Behaviour::json("[]"));
        }
        let rejected = async {
            gate.reached_by(100).await;
            let rejection = Behaviour::status(401).body("text/plain", page);
            gate.release_with(rejection.drip(2048, Duration::from_millis(5)));
        };
        let sent = (0..100).map(|_| client.get(setup.url(CLUSTERS)).send());
        let sent = async { tokio::join!(join_all(sent), rejected).0 };
        let soon = Duration::from_secs(5);
        let answers = tokio::time::timeout(soon, sent).await.expect("no hang");
        for answer in answers {
            assert_eq!(answer.unwrap().status(), StatusCode::OK);
        }
        let journal = setup.fake.journal();
        let connections: BTreeSet<_> = journal.iter().map(|it| it.connection).collect();
        let most = if tls { 2 } else { 120 };
        assert!(connections.len() <= most, "{}", connections.len());
    }
}

#[tokio::test]
async fn l06_a_rejection_that_is_the_answer_is_whole() {
    let setup = setup().await;
    let client = setup.revoked().await;
    let large = "n".repeat(200_000);
    let no = |text: &str| {
        Behaviour::status(401)
            .header("x-which", "this")
            .body("text/plain", text)
    };
    for text in ["a sentence", "", &large] {
        setup.clock.advance(Duration::from_secs(60));
        setup.fake.on_api(no("first"));
        setup.fake.on_api(no(text));
        let url = setup.url(CLUSTERS);
        let response = client.get(&url).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.url().as_str(), url);
        assert_eq!(response.headers()["x-which"], "this");
        assert!(response.remote_addr().is_some());
        assert_eq!(response.content_length(), Some(text.len() as u64));
        assert_eq!(response.text().await.unwrap(), text);
    }
}

#[tokio::test]
async fn d17_bodies_are_sent_again_byte_for_byte() {
    for tls in [false, true] {
        let setup = setup_over(tls).await;
        for in_memory in [true, false] {
            let client = setup.revoked().await;
            setup.fake.clear_journal();
            // What is in memory may be of any size.
            let body = match in_memory {
                true => Body::from(vec![b'x'; 300_000]),
                false => stream(60, 1000),
            };
            let response = client
                .post(setup.url(SUBMIT))
                .header("content-type", "application/json")
                .body(body)
                .send()
                .await
                .unwrap();
            assert_ne!(response.status(), StatusCode::UNAUTHORIZED);
            let sent = setup.sent_to(SUBMIT);
            assert_eq!(sent.len(), 2, "in memory: {in_memory}");
            assert_eq!(sent[0].body.len(), if in_memory { 300_000 } else { 60_000 });
            assert_eq!(sent[0].body, sent[1].body);
            let bare = |at: usize| {
                let mut headers = sent[at].headers.clone();
                headers.remove("authorization");
                headers
            };
            assert_eq!(bare(0), bare(1));
            setup.clock.advance(Duration::from_secs(10));
        }
    }
}

#[tokio::test]
async fn d16_a_stream_beyond_the_cap_is_sent_once_and_its_rejection_helps_the_next() {
    let setup = setup().await;
    let client = setup.revoked().await;
    let upload = client.post(setup.url(SUBMIT)).body(stream(16, 8192));
    let response = upload.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let why = response
        .extensions()
        .get::<AuthOutcome>()
        .unwrap()
        .not_retried()
        .unwrap();
    assert!(why.to_string().contains("larger than what is kept"));
    let response = client.get(setup.url(CLUSTERS)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(setup.sent_to(SUBMIT).len(), 1);
}

#[tokio::test]
async fn a_callers_own_header_wins_and_its_401_refreshes_nothing() {
    let setup = setup().await;
    let client = setup.client();
    let own = client.get(setup.url(CLUSTERS)).bearer_auth("my-own");
    let response = own.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(setup.fake.token_requests(), 0);
    assert_eq!(setup.sent_to(CLUSTERS)[0].bearer(), Some("my-own"));
}

#[tokio::test]
async fn f06_another_origin_is_an_error_that_names_it() {
    let setup = setup().await;
    let client = setup.client();
    let error = client
        .get("https://api.evil.example/x")
        .send()
        .await
        .unwrap_err();
    let Error::Middleware(error) = error else {
        panic!("{error}");
    };
    let ours = error.downcast_ref::<tower_bearer::Error>().unwrap();
    assert_eq!(
        *ours.kind(),
        Kind::OriginNotAllowed("https://api.evil.example".into())
    );
    assert_eq!(setup.fake.token_requests(), 0);
}

#[tokio::test]
async fn f04_a_401_after_a_redirect_elsewhere_rejects_nothing() {
    let setup = setup().await;
    let elsewhere = RunaiFake::builder().start().await.unwrap();
    elsewhere.always_on_api(Some(Behaviour::status(401)));
    let away = format!("{}/bucket", elsewhere.url());
    setup
        .fake
        .on_api(Behaviour::status(307).header("location", &away));
    let client = setup.client();
    let response = client.get(setup.url(CLUSTERS)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.url().as_str(), away);
    assert!(response.extensions().get::<AuthOutcome>().is_none());
    let seen = elsewhere.journal();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].bearer(), None, "the token stays at home");
    assert_eq!(setup.auth.status().counts.rejections, 0);
}

/// Gives each try up as soon as the server has it, but for the last.
struct Impatient(Arc<Mutex<Option<Gate>>>);

#[async_trait::async_trait]
impl Middleware for Impatient {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response, Error> {
        let gate = self.0.lock().unwrap().take();
        if let Some(gate) = gate {
            let first = request.try_clone().unwrap();
            tokio::select! {
                _ = next.clone().run(first, extensions) => panic!("the server holds it"),
                () = gate.reached() => {}
            }
            gate.release();
        }
        next.run(request, extensions).await
    }
}

#[tokio::test]
async fn l24_a_try_that_was_given_up_leaves_the_options_to_the_next() {
    let setup = setup().await;
    let theirs = setup.another_tenant();
    let their_token = theirs.cache().token().await.unwrap();
    let gate = setup.fake.hold_api();
    let client = ClientBuilder::new(setup.http.clone())
        .with(Impatient(Arc::new(Mutex::new(Some(gate)))))
        .with(setup.bearer())
        .build();
    let response = client
        .get(setup.url(CLUSTERS))
        .with_extension(RequestOptions::new().cache(theirs.cache().clone()))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let sent = setup.sent_to(CLUSTERS);
    assert_eq!(sent.len(), 2);
    for hop in sent {
        assert_eq!(hop.bearer(), Some(their_token.expose_secret()));
    }
}

#[tokio::test]
async fn l24_on_redirects_inside_no_other_token_takes_the_place_of_theirs() {
    let setup = setup().await;
    let elsewhere = RunaiFake::builder().start().await.unwrap();
    let theirs = setup.another_tenant();
    let their_token = theirs.cache().token().await.unwrap();
    let their_token = Some(their_token.expose_secret());
    let layer = setup.auth.layer().allow(elsewhere.url()).unwrap();
    let client = ClientBuilder::new(setup.http.clone())
        .with(BearerAuthMiddleware::new(layer))
        .build();
    let their_cache = RequestOptions::new().cache(theirs.cache().clone());
    let without = RequestOptions::new().without_token();
    for (options, header, expected) in [
        (their_cache, None, [their_token, their_token, None]),
        (without, None, [None; 3]),
        (
            RequestOptions::new(),
            Some("own"),
            [Some("own"), Some("own"), None],
        ),
    ] {
        setup.fake.clear_journal();
        elsewhere.clear_journal();
        let two = setup.url("/api/v1/two");
        setup.fake.on_api(Behaviour::redirect(307, two));
        let away = format!("{}/api/v1/three", elsewhere.url());
        setup.fake.on_api(Behaviour::redirect(307, away));
        let back = setup.url("/api/v1/four");
        elsewhere.on_api(Behaviour::redirect(307, back));
        setup.fake.on_api(Behaviour::json("[]"));
        let mut request = client.get(setup.url(CLUSTERS)).with_extension(options);
        if let Some(own) = header {
            request = request.bearer_auth(own);
        }
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
        let (here, there) = (setup.fake.journal(), elsewhere.journal());
        let bearers = [&here[0], &here[1], &there[0]].map(|hop| hop.bearer());
        assert_eq!(bearers, expected);
        // reqwest leaves a header behind for good.
        assert_eq!(here[2].bearer(), None);
    }
    assert_eq!(setup.auth.status().generation, None);
}

#[tokio::test]
async fn options_come_in_with_the_request() {
    let setup = setup().await;
    let client = setup.revoked().await;
    let response = client
        .get(setup.url(CLUSTERS))
        .with_extension(RequestOptions::new().without_retry())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(setup.sent_to(CLUSTERS).len(), 2);
    let response = client
        .get(setup.url(CLUSTERS))
        .with_extension(RequestOptions::new().without_token())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(setup.sent_to(CLUSTERS)[2].bearer(), None);
}

#[tokio::test]
async fn d23_with_reqwest_retry_the_sends_stay_within_the_product() {
    let retries = || {
        let at_once = Duration::from_millis(1);
        let policy = ExponentialBackoff::builder()
            .retry_bounds(at_once, at_once)
            .build_with_max_retries(2);
        RetryTransientMiddleware::new_with_policy(policy)
    };
    // The worst of each: the retries inside are used up twice, with a rejection in between; outside, each
    // of three tries may be rejected, and two refreshes are what the limiter lets through.
    let worst_inside: &[u16] = &[503, 503, 401, 503, 503, 503];
    let worst_outside: &[u16] = &[401, 503, 401, 503, 503];
    let retried: &[u16] = &[401, 503, 200];
    for (retry_outside, statuses, status) in [
        (true, worst_outside, 503),
        (true, retried, 200),
        (false, worst_inside, 503),
        (false, retried, 200),
    ] {
        let setup = setup().await;
        let client = ClientBuilder::new(setup.http.clone());
        let client = match retry_outside {
            true => client.with(retries()).with(setup.bearer()),
            false => client.with(setup.bearer()).with(retries()),
        };
        for &status in statuses {
            setup.fake.on_api(match status {
                200 => Behaviour::default(),
                _ => Behaviour::status(status),
            });
        }
        let request = client.build().get(setup.url(CLUSTERS));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "retry outside: {retry_outside}");
        assert_eq!(
            setup.fake.api_requests(),
            statuses.len(),
            "retry outside: {retry_outside}"
        );
        assert!(setup.fake.api_requests() <= 2 * 3);
    }
}

#[test]
fn the_middleware_is_what_a_client_needs() {
    fn middleware<M: reqwest_middleware::Middleware + Clone + std::fmt::Debug>() {}
    middleware::<BearerAuthMiddleware>();
    println!(
        "BearerAuthMiddleware: {} bytes",
        size_of::<BearerAuthMiddleware>()
    );
}
