//! The client detects the version of the token endpoint without sending the secret to every one.

use std::time::Duration;

use runai_auth::{
    Auth, ControlPlane, Credentials, TokenEndpoint,
    tower_bearer::{Kind, clock::ManualClock},
};
use runai_fake::{Behaviour, EndpointVersion, Fault, RunaiFake};

use crate::support::{APPLICATION, SECRET, chain};

const VERSIONS: [EndpointVersion; 3] = [
    EndpointVersion::V1,
    EndpointVersion::V2,
    EndpointVersion::Keycloak,
];

async fn fake_with(there: &[EndpointVersion]) -> RunaiFake {
    let mut builder = RunaiFake::builder().application(APPLICATION, SECRET);
    for version in VERSIONS {
        builder = builder.endpoint_version(version, there.contains(&version));
    }
    builder.start().await.unwrap()
}

fn authenticate(fake: &RunaiFake) -> Auth {
    authenticate_at(fake, TokenEndpoint::Auto, &ManualClock::new())
}

fn authenticate_at(fake: &RunaiFake, endpoint: TokenEndpoint, clock: &ManualClock) -> Auth {
    let (control_plane, clock) = (ControlPlane::new(fake.url()).unwrap(), clock.clone());
    control_plane
        .token_endpoint(endpoint)
        .authenticate_with(Credentials::client(APPLICATION, SECRET), |cache| {
            cache.clock(clock).attempts(1)
        })
}

/// Another token, which is not asked for within a second of the last.
async fn refresh(auth: &Auth, clock: &ManualClock) {
    clock.advance(Duration::from_secs(2));
    auth.cache().refresh().await.unwrap();
}

/// The paths that were asked, in order, a star before those whose request carried the secret.
fn asked(fake: &RunaiFake) -> Vec<String> {
    let journal = fake.journal();
    let carried = |body: &[u8]| String::from_utf8_lossy(body).contains(SECRET);
    journal
        .iter()
        .map(|exchange| {
            let star = if carried(&exchange.body) { "*" } else { "" };
            format!("{star}{}", exchange.path)
        })
        .collect()
}

const V1: &str = "*/api/v1/token";
const V2: &str = "*/api/v2/token";
const V2_ASKED: &str = "/api/v2/token";
const KEYCLOAK: &str = "*/auth/realms/runai/protocol/openid-connect/token";
const DOCUMENT: &str = "/auth/realms/runai/.well-known/openid-configuration";

#[tokio::test]
async fn the_first_version_that_answers_gets_the_secret_and_is_remembered() {
    for (there, expected) in [
        (&VERSIONS[..], &[V1][..]),
        (&[EndpointVersion::V1], &[V1]),
        (
            &[EndpointVersion::V2, EndpointVersion::Keycloak],
            &[V1, V2_ASKED, V2],
        ),
        (
            &[EndpointVersion::Keycloak],
            &[V1, V2_ASKED, DOCUMENT, KEYCLOAK],
        ),
    ] {
        let fake = fake_with(there).await;
        let clock = ManualClock::new();
        let auth = authenticate_at(&fake, TokenEndpoint::Auto, &clock);
        auth.cache().token().await.unwrap();
        assert_eq!(asked(&fake), expected, "{there:?}");
        fake.clear_journal();
        refresh(&auth, &clock).await;
        let again = expected.last().unwrap();
        assert_eq!(asked(&fake), [*again], "{there:?}");
    }
}

#[tokio::test]
async fn a_version_is_absent_if_it_answers_with_404_405_410_or_a_page() {
    for absent in [
        Behaviour::status(404),
        Behaviour::status(405),
        Behaviour::status(410),
        Behaviour::html(),
        Behaviour::status(404).body("text/html", "<html>no</html>"),
    ] {
        let fake = fake_with(&VERSIONS).await;
        fake.always_on_version(EndpointVersion::V1, Some(absent.clone()));
        authenticate(&fake).cache().token().await.unwrap();
        assert_eq!(asked(&fake), [V1, V2_ASKED, V2], "{absent:?}");
    }
}

#[tokio::test]
async fn an_error_does_not_lead_to_the_next_version() {
    for (answer, kind) in [
        (Behaviour::status(400), Kind::InvalidCredentials),
        (Behaviour::status(401), Kind::InvalidCredentials),
        (Behaviour::status(403), Kind::InvalidCredentials),
        (Behaviour::status(500), Kind::Unavailable),
        (Behaviour::status(503), Kind::Unavailable),
        (Behaviour::json("{}"), Kind::Malformed),
        (Behaviour::redirect(307, "/api/v2/token"), Kind::Malformed),
        (Behaviour::fault(Fault::Reset), Kind::Unavailable),
    ] {
        let fake = fake_with(&VERSIONS).await;
        fake.always_on_version(EndpointVersion::V1, Some(answer.clone()));
        let error = authenticate(&fake).cache().token().await.unwrap_err();
        assert_eq!(*error.kind(), kind, "{answer:?}");
        assert_eq!(asked(&fake), [V1], "{answer:?}");
    }
}

#[tokio::test]
async fn a_version_that_does_not_answer_as_itself_is_not_sent_the_secret() {
    for (second, third, expected) in [
        // A gateway that answers every path with its own JSON, or its page, or a redirect to it.
        (
            Behaviour::json("{}"),
            None,
            &[V1, V2_ASKED, DOCUMENT, KEYCLOAK][..],
        ),
        (Behaviour::html(), None, &[V1, V2_ASKED, DOCUMENT, KEYCLOAK]),
        (
            Behaviour::redirect(302, "/login"),
            None,
            &[V1, V2_ASKED, DOCUMENT, KEYCLOAK],
        ),
        (
            Behaviour::status(401).body("text/html", "<html>"),
            Some(Behaviour::html()),
            &[V1, V2_ASKED, DOCUMENT],
        ),
    ] {
        let fake = fake_with(&VERSIONS).await;
        fake.always_on_version(EndpointVersion::V1, Some(Behaviour::status(404)));
        fake.always_on_version(EndpointVersion::V2, Some(second.clone()));
        fake.always_on_version(EndpointVersion::Keycloak, third.clone());
        let token = authenticate(&fake).cache().token().await;
        let journal = asked(&fake);
        // The document may be looked for at a second well-known place.
        assert_eq!(&journal[..expected.len()], expected, "{second:?}");
        assert_eq!(token.is_ok(), third.is_none(), "{second:?}");
        assert!(fake.secret_bearing_requests() <= 2);
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_during_detection_is_tried_again_later() {
    let fake = fake_with(&VERSIONS).await;
    fake.always_on_version(EndpointVersion::V1, Some(Behaviour::status(404)));
    fake.always_on_version(EndpointVersion::V2, Some(Behaviour::status(503)));
    let auth = authenticate(&fake);
    let error = auth.cache().token().await.unwrap_err();
    assert!(error.is_transient(), "{}", chain(&error));
    assert_eq!(asked(&fake), [V1, V2_ASKED]);
}

#[tokio::test]
async fn a_second_version_that_rejects_the_credentials_counts() {
    let fake = RunaiFake::builder()
        .application(APPLICATION, "another secret")
        .endpoint_version(EndpointVersion::V1, false)
        .start()
        .await
        .unwrap();
    let error = authenticate(&fake).cache().token().await.unwrap_err();
    assert!(error.is_invalid_credentials(), "{}", chain(&error));
    assert_eq!(asked(&fake), [V1, V2_ASKED, V2]);
}

#[tokio::test]
async fn a_version_that_disappears_under_a_running_daemon_is_detected_again() {
    let fake = fake_with(&VERSIONS).await;
    let clock = ManualClock::new();
    let auth = authenticate_at(&fake, TokenEndpoint::Auto, &clock);
    auth.cache().token().await.unwrap();
    fake.clear_journal();
    // An upgrade removes v1 …
    fake.always_on_version(EndpointVersion::V1, Some(Behaviour::status(404)));
    refresh(&auth, &clock).await;
    assert_eq!(asked(&fake), [V1, V2_ASKED, V2]);
    fake.clear_journal();
    // … and is rolled back.
    fake.always_on_version(EndpointVersion::V1, None);
    fake.always_on_version(EndpointVersion::V2, Some(Behaviour::html()));
    refresh(&auth, &clock).await;
    assert_eq!(asked(&fake), [V2, "/api/v1/token", V1]);
}

#[tokio::test]
async fn without_any_version_the_error_names_the_places_that_were_tried() {
    let fake = fake_with(&[]).await;
    let error = authenticate(&fake).cache().token().await.unwrap_err();
    let text = chain(&error).replace(fake.url(), "BASE");
    assert!(
        text.contains(
            "there is no /api/v1/token and no /api/v2/token and no \
             /auth/realms/runai/protocol/openid-connect/token at BASE (404): check that the URL is the \
             control plane's own"
        ),
        "{text}"
    );
    assert_eq!(fake.secret_bearing_requests(), 1);
}

#[tokio::test]
async fn a_configured_version_is_the_only_one() {
    for (endpoint, version, path) in [
        (TokenEndpoint::V1, EndpointVersion::V1, V1),
        (TokenEndpoint::V2, EndpointVersion::V2, V2),
        (TokenEndpoint::Keycloak, EndpointVersion::Keycloak, KEYCLOAK),
    ] {
        let fake = fake_with(&VERSIONS).await;
        authenticate_at(&fake, endpoint, &ManualClock::new())
            .cache()
            .token()
            .await
            .unwrap();
        assert_eq!(asked(&fake), [path]);
        fake.clear_journal();
        fake.always_on_version(version, Some(Behaviour::status(404)));
        let error = authenticate_at(&fake, endpoint, &ManualClock::new())
            .cache()
            .token()
            .await
            .unwrap_err();
        assert_eq!(*error.kind(), Kind::Malformed);
        assert_eq!(asked(&fake), [path]);
    }
}

#[tokio::test]
async fn a_token_endpoint_on_another_origin_gets_no_secret() {
    let elsewhere = fake_with(&VERSIONS).await;
    let fake = fake_with(&[EndpointVersion::Keycloak]).await;
    fake.set_discovered_token_endpoint(Some(format!(
        "{}/auth/realms/runai/protocol/openid-connect/token",
        elsewhere.url()
    )));
    let error = authenticate(&fake).cache().token().await.unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("names a token endpoint on another origin") && text.contains(elsewhere.url()),
        "{text}"
    );
    assert_eq!(asked(&elsewhere), [""; 0]);
    assert_eq!(fake.secret_bearing_requests(), 1);
}

#[tokio::test]
async fn the_realm_can_be_named() {
    let fake = RunaiFake::builder()
        .application(APPLICATION, SECRET)
        .realm("acme")
        .start()
        .await
        .unwrap();
    let plane = || {
        ControlPlane::new(fake.url())
            .unwrap()
            .token_endpoint(TokenEndpoint::Keycloak)
    };
    let credentials = || Credentials::client(APPLICATION, SECRET);
    let auth = plane().realm("acme").unwrap().authenticate(credentials());
    auth.cache().token().await.unwrap();
    let auth = plane().authenticate(credentials());
    assert!(auth.cache().token().await.is_err());
    assert!(plane().realm("a/../b").is_err() && plane().realm("").is_err());
}
