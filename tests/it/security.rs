//! Where the token goes, and where it shows.

use http::{Request, StatusCode};
use http_body_util::Full;
use runai_auth::{ControlPlane, Credentials, tower_bearer::Kind};
use tower::ServiceExt;

use crate::support::{APPLICATION, CLUSTERS, SECRET, Wire, kind, setup, setup_over};

#[tokio::test]
async fn f06_the_token_goes_to_no_other_origin() {
    let setup = setup().await;
    let other = self::setup().await;
    setup.get(CLUSTERS).await.unwrap();
    let request = || {
        Request::get(other.auth.url(CLUSTERS).unwrap())
            .body(Full::default())
            .unwrap()
    };
    let error = setup.send(request()).await.unwrap_err();
    assert_eq!(
        *kind(&error),
        Kind::OriginNotAllowed(other.fake.url().into())
    );
    assert!(error.to_string().contains(other.fake.url()), "{error}");
    assert_eq!(other.fake.journal().len(), 0);
    // Where others may pass, they pass without the token, and their 401 rejects nothing.
    let layer = setup.auth.layer().pass_other_origins();
    let passing = tower::Layer::layer(&layer, setup.api.get_ref().clone());
    let response = passing.oneshot(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(other.fake.journal()[0].bearer(), None);
    assert!(!setup.auth.status().rejected);
    assert_eq!(setup.fake.token_requests(), 1);
}

#[tokio::test]
async fn f05_http_is_refused_but_to_loopback_or_where_asked_for() {
    let error = ControlPlane::new("http://control-plane.example").unwrap_err();
    assert!(error.to_string().contains("without TLS"), "{error}");
    let secure = setup_over(Wire::Http2).await;
    secure.get(CLUSTERS).await.unwrap();
    let plain = secure.fake.url().replace("https:", "http:");
    let request = Request::get(format!("{plain}{CLUSTERS}"))
        .body(Full::default())
        .unwrap();
    let error = secure.send(request).await.unwrap_err();
    assert!(matches!(kind(&error), Kind::OriginNotAllowed(_)), "{error}");
}

#[tokio::test]
async fn f11_two_tenants_never_see_each_others_token() {
    let (a, b) = (setup().await, setup().await);
    for _ in 0..50 {
        let (to_a, to_b) = tokio::join!(a.get(CLUSTERS), b.get(CLUSTERS));
        assert_eq!(
            (to_a.unwrap().status, to_b.unwrap().status),
            (StatusCode::OK, StatusCode::OK)
        );
    }
    for setup in [&a, &b] {
        let own = setup.fake.issued();
        for exchange in setup.fake.journal().iter().filter(|it| it.path == CLUSTERS) {
            assert_eq!(exchange.bearer(), Some(own[0].token.as_str()));
        }
    }
}

#[tokio::test]
async fn f03_nothing_that_is_printed_shows_a_secret() {
    let setup = setup().await;
    let answer = setup.get(CLUSTERS).await.unwrap();
    let token = setup.auth.cache().token().await.unwrap();
    assert!(token.header_value().is_sensitive());
    let credentials = Credentials::client(APPLICATION, SECRET);
    let shown = format!(
        "{:#?} {:#?} {:#?} {:#?} {:#?} {:#?} {credentials:#?} {answer:?}",
        setup.auth,
        setup.api,
        setup.auth.layer(),
        setup.auth.status(),
        token,
        setup.auth.cache().token(),
    );
    let secret = token.expose_secret();
    for part in secret.split('.').chain([secret, SECRET]) {
        assert!(!shown.contains(part), "{shown}");
    }
}

#[tokio::test]
async fn the_token_request_is_the_how_tos_and_names_who_asks() {
    let setup = setup().await;
    setup.get(CLUSTERS).await.unwrap();
    let request = &setup.fake.journal()[0];
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/api/v1/token")
    );
    let expected =
        format!(r#"{{"grantType":"app_token","AppId":"{APPLICATION}","AppSecret":"{SECRET}"}}"#);
    assert_eq!(request.body, expected);
    assert_eq!(request.headers["accept"], "*/*");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(
        request.headers["user-agent"],
        concat!("runai-auth/", env!("CARGO_PKG_VERSION"))
    );

    let named = ControlPlane::new(setup.fake.url())
        .unwrap()
        .user_agent("my-app/1.2")
        .unwrap();
    named
        .authenticate(Credentials::client(APPLICATION, SECRET))
        .cache()
        .token()
        .await
        .unwrap();
    let agent = setup.fake.journal().last().unwrap().headers["user-agent"].clone();
    assert_eq!(
        agent,
        concat!("my-app/1.2 runai-auth/", env!("CARGO_PKG_VERSION"))
    );
}
