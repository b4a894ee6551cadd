//! Redirects, over real sockets: the token reaches no other origin, and a 401 from one rejects nothing.

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use runai_auth::AuthOutcome;
use runai_fake::{Behaviour, RunaiFake};
use tower::{Layer, ServiceExt};
use tower_http::follow_redirect::{FollowRedirectLayer, RequestUri, policy};

use crate::support::{CLUSTERS, Setup, kind, setup};
use runai_auth::tower_bearer::Kind;

/// Another server, which answers 401 to all, and a control plane that redirects there.
async fn redirecting() -> (Setup, RunaiFake) {
    let setup = setup().await;
    let elsewhere = RunaiFake::builder().start().await.unwrap();
    elsewhere.always_on_api(Some(Behaviour::status(401)));
    let away = format!("{}/bucket", elsewhere.url());
    setup
        .fake
        .always_on_api(Some(Behaviour::status(307).header("location", away)));
    (setup, elsewhere)
}

fn request(setup: &Setup) -> Request<Full<Bytes>> {
    let uri: Uri = setup.auth.url(CLUSTERS).unwrap();
    Request::get(uri).body(Full::default()).unwrap()
}

#[tokio::test]
async fn f04_a_redirect_that_is_followed_outside_is_refused() {
    let (setup, elsewhere) = redirecting().await;
    let api = FollowRedirectLayer::new().layer(setup.api.clone());
    let error = api.oneshot(request(&setup)).await.unwrap_err();
    assert_eq!(
        *kind(&error),
        Kind::OriginNotAllowed(elsewhere.url().to_owned())
    );
    assert!(elsewhere.journal().is_empty(), "nothing was sent there");
}

#[tokio::test]
async fn f04_a_redirect_that_is_followed_outside_may_go_on_without_the_token() {
    let (setup, elsewhere) = redirecting().await;
    let layer = setup.auth.layer().pass_other_origins();
    let api = layer.layer(setup.api.get_ref().clone());
    let api = FollowRedirectLayer::new().layer(api);
    let response = api.oneshot(request(&setup)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let seen = elsewhere.journal();
    assert_eq!((seen.len(), seen[0].bearer()), (1, None));
    assert_eq!(setup.auth.status().counts.rejections, 0);
    assert_eq!(setup.fake.token_requests(), 1);
}

#[tokio::test]
async fn f04_d15_a_redirect_that_is_followed_inside_leaves_the_token_behind() {
    let (setup, elsewhere) = redirecting().await;
    let inside = FollowRedirectLayer::with_policy(policy::FilterCredentials::new());
    let api = setup
        .auth
        .layer()
        .final_uri(|head| head.extensions.get::<RequestUri>().map(|uri| &uri.0))
        .layer(inside.layer(setup.api.get_ref().clone()));
    let response = api.oneshot(request(&setup)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(response.extensions().get::<AuthOutcome>().is_none());
    let seen = elsewhere.journal();
    assert_eq!((seen.len(), seen[0].bearer()), (1, None));
    assert_eq!(setup.auth.status().counts.rejections, 0);
    assert_eq!(setup.fake.token_requests(), 1);
}

#[tokio::test]
async fn d21_a_401_at_the_token_endpoint_never_recurses() {
    let setup = setup().await;
    setup.fake.always_on_token(Some(Behaviour::status(401)));
    let error = setup.get(CLUSTERS).await.unwrap_err();
    assert_eq!(*kind(&error), Kind::InvalidCredentials);
    assert_eq!(
        (setup.fake.token_requests(), setup.fake.api_requests()),
        (1, 0)
    );
}
