//! Redirects, over real sockets: the token reaches no other origin, and a 401 from one rejects nothing.

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use runai_auth::{AuthOutcome, BoxError, RequestOptions};
use runai_fake::{Behaviour, RunaiFake};
use tower::{Layer, Service, ServiceExt, util::BoxCloneService};
use tower_http::follow_redirect::{FollowRedirectLayer, RequestUri, policy};
use tower_http_06::follow_redirect::FollowRedirectLayer as FollowRedirectLayer06;

use crate::support::{CLUSTERS, SECRET, Setup, authenticate, kind, setup};
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

type Client = BoxCloneService<Request<Full<Bytes>>, StatusCode, BoxError>;

/// Boxes a client, whose responses are of no further interest.
fn boxed<S, B>(client: S) -> Client
where
    S: Service<Request<Full<Bytes>>, Response = http::Response<B>, Error = BoxError>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    BoxCloneService::new(client.map_response(|response| response.status()))
}

#[tokio::test]
async fn l24_what_a_request_asked_for_counts_on_each_hop() {
    let setup = setup().await;
    let elsewhere = RunaiFake::builder().start().await.unwrap();
    // Another tenant, whose tokens are its own.
    let theirs = authenticate(&setup.fake, &setup.clock, SECRET);
    let their_token = theirs.cache().token().await.unwrap();
    let their_token = their_token.expose_secret();
    let own = "the-callers-own";
    let layer = setup.auth.layer().allow(elsewhere.url()).unwrap();
    let http = setup.api.get_ref();
    for (version, client) in [
        (
            "0.7",
            boxed(
                layer
                    .clone()
                    .with_redirects(FollowRedirectLayer::new())
                    .layer(http.clone()),
            ),
        ),
        (
            "0.6",
            boxed(
                layer
                    .with_redirects(FollowRedirectLayer06::new())
                    .layer(http.clone()),
            ),
        ),
    ] {
        let their_cache = RequestOptions::new().cache(theirs.cache().clone());
        for (what, options, header, expected) in [
            ("their cache", Some(their_cache), None, Some(their_token)),
            (
                "no token",
                Some(RequestOptions::new().without_token()),
                None,
                None,
            ),
            ("an own header", None, Some(own), None),
        ] {
            let here = setup.auth.url("/api/v1/two").unwrap().to_string();
            let back = setup.auth.url("/api/v1/four").unwrap().to_string();
            setup.fake.on_api(Behaviour::redirect(307, here));
            let away = format!("{}/api/v1/three", elsewhere.url());
            setup.fake.on_api(Behaviour::redirect(307, away));
            elsewhere.on_api(Behaviour::redirect(307, back));
            setup.fake.on_api(Behaviour::json("[]"));
            let mut request = request(&setup);
            if let Some(options) = options {
                request.extensions_mut().insert(options);
            }
            if let Some(own) = header {
                let value = format!("Bearer {own}").parse().unwrap();
                request.headers_mut().insert("authorization", value);
            }
            setup.fake.clear_journal();
            elsewhere.clear_journal();
            let status = client.clone().oneshot(request).await.unwrap();
            assert_eq!(status, StatusCode::OK, "{version}, {what}");
            let (here, there) = (setup.fake.journal(), elsewhere.journal());
            assert_eq!((here.len(), there.len()), (3, 1), "{version}, {what}");
            for hop in here.iter().chain(&there) {
                let bearer = hop.bearer();
                let is_right = match header {
                    // A redirect layer may keep it within the origin.
                    Some(own) => bearer.is_none_or(|bearer| bearer == own),
                    None => bearer == expected,
                };
                assert!(is_right, "{version}, {what}, {}: {bearer:?}", hop.path);
            }
        }
    }
    assert_eq!(
        setup.auth.status().generation,
        None,
        "our token was never needed"
    );
}

#[tokio::test]
async fn l25_a_host_header_that_names_another_host_is_an_error() {
    let setup = setup().await;
    for host in ["evil.example", "127.0.0.1", "127.0.0.1:1"] {
        let mut request = request(&setup);
        request.headers_mut().insert("host", host.parse().unwrap());
        let error = setup.send(request).await.unwrap_err();
        assert_eq!(*kind(&error), Kind::HostMismatch(setup.fake.url().into()));
        let text = format!(
            "the request goes to {}, but its Host header is {host:?}: leave the Host header out, so that the \
             client writes it from the URI",
            setup.fake.url()
        );
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(
        (setup.fake.token_requests(), setup.fake.api_requests()),
        (0, 0)
    );
    let mut request = request(&setup);
    let own = setup.fake.addr().to_string().parse().unwrap();
    request.headers_mut().insert("host", own);
    assert_eq!(setup.send(request).await.unwrap().status, StatusCode::OK);
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
