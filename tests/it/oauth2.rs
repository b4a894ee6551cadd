//! Any provider, by tower-bearer's feature `oauth2`: here the fake's endpoints that speak RFC 6749.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client as Hyper, connect::HttpConnector},
    rt::TokioExecutor,
};
use runai_auth::{
    RefreshTokens,
    tower_bearer::{
        BearerAuthLayer, Kind, TokenCache,
        clock::ManualClock,
        oauth2::{Client, ClientSecret, Endpoint, OAuth2Source},
    },
};
use runai_fake::{Behaviour, EndpointVersion, RunaiFake};
use tower::{Layer, ServiceExt};

use crate::{
    credentials::last_body,
    support::{APPLICATION, CLUSTERS, SECRET, chain},
};

fn http() -> Hyper<HttpConnector, Full<Bytes>> {
    Hyper::builder(TokioExecutor::new()).build_http()
}

async fn fake() -> RunaiFake {
    RunaiFake::builder()
        .application(APPLICATION, SECRET)
        .application("odd: id", "s3cr3t/+\"&\u{e9}")
        .start()
        .await
        .unwrap()
}

fn issuer(fake: &RunaiFake) -> String {
    format!("{}/auth/realms/runai", fake.url())
}

fn configured(fake: &RunaiFake) -> Endpoint {
    Endpoint::new(&format!("{}/api/v2/token", fake.url())).unwrap()
}

fn cache(source: OAuth2Source, clock: &ManualClock) -> TokenCache {
    let clock = clock.clone();
    TokenCache::builder(source).clock(clock).attempts(1).build()
}

#[tokio::test]
async fn client_credentials_by_post_and_basic_at_a_configured_and_a_discovered_endpoint() {
    let fake = fake().await;
    let discovered = || Endpoint::discover(&issuer(&fake)).unwrap();
    for (id, secret) in [(APPLICATION, SECRET), ("odd: id", "s3cr3t/+\"&\u{e9}")] {
        for (endpoint, client) in [
            (configured(&fake), Client::post(id, secret)),
            (discovered(), Client::post(id, secret)),
            (discovered(), Client::basic(id, secret)),
            (
                discovered(),
                Client::basic(
                    id,
                    ClientSecret::from_fn(move || async move { Ok(secret.into()) }),
                ),
            ),
        ] {
            let source = OAuth2Source::client_credentials(http(), endpoint, client);
            let token = cache(source, &ManualClock::new()).token().await.unwrap();
            assert!(fake.accepts(token.expose_secret()));
        }
    }
}

#[tokio::test]
async fn the_layer_goes_on_with_it() {
    let fake = fake().await;
    let client = Client::post(APPLICATION, SECRET);
    let source = OAuth2Source::client_credentials(http(), configured(&fake), client);
    let layer = BearerAuthLayer::new(TokenCache::new(source))
        .allow(fake.url())
        .unwrap();
    let api = Hyper::builder(TokioExecutor::new()).build_http();
    let request = http::Request::get(format!("{}{CLUSTERS}", fake.url()));
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let response = layer.layer(api).oneshot(request).await.unwrap();
    assert_eq!(response.status(), http::StatusCode::OK);
}

#[tokio::test]
async fn scopes_audiences_resources_and_other_parameters_go_along() {
    let fake = fake().await;
    let assertion = || async { Ok("the.signed.jwt".into()) };
    let source = OAuth2Source::client_credentials(
        http(),
        configured(&fake),
        Client::assertion(APPLICATION, assertion),
    )
    .scope("things:read things:write")
    .audience("https://api.example")
    .resource("https://a.example/")
    .resource("https://b.example/")
    .parameter("x", "y&z");
    // The fake knows no assertions; what was sent is what counts.
    let error = cache(source, &ManualClock::new())
        .token()
        .await
        .unwrap_err();
    assert!(
        !chain(&error).contains("the.signed.jwt"),
        "{}",
        chain(&error)
    );
    assert_eq!(
        last_body(&fake),
        "grant_type=client_credentials&scope=things%3Aread+things%3Awrite\
         &audience=https%3A%2F%2Fapi.example&resource=https%3A%2F%2Fa.example%2F\
         &resource=https%3A%2F%2Fb.example%2F&x=y%26z&client_id=ci-bot\
         &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
         &client_assertion=the.signed.jwt"
    );
}

#[tokio::test]
async fn a_refresh_token_is_rotated() {
    let fake = fake().await;
    let first = fake.refresh_token_for("test-user");
    let endpoint = Endpoint::discover(&issuer(&fake)).unwrap();
    let tokens = RefreshTokens::new(first.as_str());
    let source = OAuth2Source::refresh_token(http(), endpoint, Client::public("cli"), tokens);
    let clock = ManualClock::new();
    let cache = cache(source, &clock);
    for _ in 0..3 {
        let token = cache.refresh().await.unwrap();
        assert!(fake.accepts(token.expose_secret()));
        clock.advance(Duration::from_secs(2));
    }
    assert!(!fake.refresh_token_is_live(&first));
    // The document is read once.
    let documents = fake.journal();
    let documents = documents
        .iter()
        .filter(|it| it.path.ends_with("openid-configuration"));
    assert_eq!(documents.count(), 1);
}

#[tokio::test]
async fn errors_name_the_endpoint_the_client_and_what_the_server_said() {
    let fake = fake().await;
    for (behaviour, kind, says) in [
        (
            None,
            Kind::InvalidCredentials,
            "BASE/api/v2/token refused client \"ci-bot\" (401, \"invalid_client\", \"Client authentication \
             failed\"): check the client's id and secret",
        ),
        (
            Some(Behaviour::status(503)),
            Kind::Unavailable,
            "BASE/api/v2/token cannot give a token to client \"ci-bot\" at present (503",
        ),
        (
            Some(Behaviour::status(404)),
            Kind::Malformed,
            "there is no token endpoint at BASE/api/v2/token (404): check its URL",
        ),
        (
            Some(Behaviour::redirect(
                307,
                "https://elsewhere.example/token?x=1",
            )),
            Kind::Malformed,
            "redirects token requests to \"https://elsewhere.example/token\" (307), which is not followed",
        ),
        (
            Some(Behaviour::html()),
            Kind::Malformed,
            "answered with a web page",
        ),
        (
            Some(Behaviour::json(r#"{"error":"invalid_scope"}"#)),
            Kind::Malformed,
            "answered client \"ci-bot\" with the error \"invalid_scope\"",
        ),
    ] {
        if let Some(behaviour) = behaviour {
            fake.on_token(behaviour);
        }
        let client = Client::post(APPLICATION, "a wrong secret");
        let source = OAuth2Source::client_credentials(http(), configured(&fake), client);
        let error = cache(source, &ManualClock::new())
            .token()
            .await
            .unwrap_err();
        let text = chain(&error).replace(fake.url(), "BASE");
        assert!(text.contains(says), "{text}");
        assert!(!text.contains("wrong secret"), "{text}");
        assert_eq!(*error.kind(), kind);
    }
}

#[tokio::test]
async fn a_discovered_endpoint_that_goes_is_looked_up_again() {
    let fake = fake().await;
    let client = Client::post(APPLICATION, SECRET);
    let endpoint = Endpoint::discover(&issuer(&fake)).unwrap();
    let source = OAuth2Source::client_credentials(http(), endpoint, client);
    let clock = ManualClock::new();
    let cache = cache(source, &clock);
    cache.token().await.unwrap();
    fake.on_token(Behaviour::status(404));
    clock.advance(Duration::from_secs(2));
    cache.refresh().await.unwrap_err();
    clock.advance(Duration::from_secs(120));
    cache.refresh().await.unwrap();
    let documents = fake.journal();
    let documents = documents
        .iter()
        .filter(|it| it.path.ends_with("openid-configuration"));
    assert_eq!(documents.count(), 2);
}

#[tokio::test]
async fn an_issuer_without_a_document_or_with_another_ones_gets_no_secret() {
    let fake = fake().await;
    let client = || Client::post(APPLICATION, SECRET);
    for (issuer, form, says) in [
        (
            format!("{}/nowhere", fake.url()),
            None,
            "has no discovery document",
        ),
        (
            issuer(&fake),
            Some(Behaviour::json(
                r#"{"issuer":"https://evil.example","token_endpoint":"https://evil.example/t"}"#,
            )),
            "is the document of another issuer",
        ),
        (
            issuer(&fake),
            Some(Behaviour::json("[]")),
            "is not an issuer's document",
        ),
        (
            issuer(&fake),
            Some(Behaviour::status(503)),
            "cannot be read at present",
        ),
    ] {
        fake.always_on_version(EndpointVersion::Keycloak, form);
        let endpoint = Endpoint::discover(&issuer).unwrap();
        let source = OAuth2Source::client_credentials(http(), endpoint, client());
        let error = cache(source, &ManualClock::new())
            .token()
            .await
            .unwrap_err();
        assert!(chain(&error).contains(says), "{}", chain(&error));
    }
    assert_eq!(fake.secret_bearing_requests(), 0);
}
