//! A person logs in with a browser, which the tests play.

mod listener;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client as Hyper, rt::TokioExecutor};
use runai_auth::{
    BrowserLogin, ControlPlane, Credentials, LoginError, LoginErrorKind, PendingLogin, SecretText,
    TokenEndpoint, tower_bearer::clock::ManualClock,
};
use runai_fake::{Behaviour, EndpointVersion, RunaiFake};
use tokio::task::JoinHandle;

use crate::{
    credentials::{ENDPOINTS, authenticate, last_body},
    support::chain,
};

async fn fake() -> RunaiFake {
    let builder = RunaiFake::builder().user("ada@example.com", "pass&word");
    builder.start().await.unwrap()
}

fn control_plane(fake: &RunaiFake, endpoint: TokenEndpoint) -> ControlPlane {
    let control_plane = ControlPlane::new(fake.url()).unwrap();
    control_plane.token_endpoint(endpoint)
}

async fn start(fake: &RunaiFake) -> PendingLogin {
    let control_plane = control_plane(fake, TokenEndpoint::V2);
    BrowserLogin::new(&control_plane).start().await.unwrap()
}

/// A page as the browser got it.
struct Page {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

async fn open(url: &str) -> Page {
    request(Request::get(url)).await
}

async fn request(request: http::request::Builder) -> Page {
    let http = Hyper::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = request.body(Full::default()).unwrap();
    let (head, body) = http.request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Page {
        status: head.status,
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

/// Logs in on the login page, and gives the URL that the browser is sent back to.
async fn redirect(login_url: &str) -> String {
    let page = open(login_url).await;
    assert_eq!(page.status, StatusCode::FOUND, "{}", page.body);
    page.headers["location"].to_str().unwrap().to_owned()
}

/// The value of a parameter of a URL.
fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(found, _)| *found == name);
    found.map(|(_, value)| value.to_owned())
}

type Finishing = JoinHandle<Result<SecretText, LoginError>>;

/// A login that is waited for, its URL and the redirect that would end it.
async fn waiting(fake: &RunaiFake) -> (Finishing, String) {
    let login = start(fake).await;
    let redirect = redirect(login.url()).await;
    (tokio::spawn(login.finish()), redirect)
}

async fn gives_tokens(fake: &RunaiFake, endpoint: TokenEndpoint, refresh_token: SecretText) {
    let credentials = Credentials::refresh_token(refresh_token);
    let auth = authenticate(fake, &ManualClock::new(), endpoint, credentials);
    let token = auth.cache().token().await.unwrap();
    assert!(fake.accepts(token.expose_secret()));
}

#[tokio::test]
async fn a_login_at_each_endpoint() {
    let fake = fake().await;
    for (endpoint, version) in ENDPOINTS {
        let control_plane = control_plane(&fake, endpoint);
        let login = BrowserLogin::new(&control_plane).start().await.unwrap();
        let url = login.url().to_owned();
        assert_eq!(parameter(&url, "client_id").unwrap(), "cli");
        let with_pkce = version != EndpointVersion::V1;
        let method = parameter(&url, "code_challenge_method");
        assert_eq!(method, with_pkce.then(|| "S256".into()), "{url}");

        let back = redirect(&url).await;
        assert!(back.starts_with("http://127.0.0.1:") && back.contains("/callback?"));
        let (page, refresh_token) = tokio::join!(open(&back), login.finish());
        assert_eq!(page.status, StatusCode::OK);
        assert_eq!(page.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(page.headers[header::REFERRER_POLICY], "no-referrer");
        let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str();
        assert!(policy.unwrap().starts_with("default-src 'none'"));
        assert!(page.body.contains("You can close this window"));
        assert_eq!(last_body(&fake).contains("code_verifier="), with_pkce);
        gives_tokens(&fake, endpoint, refresh_token.unwrap()).await;
    }
}

#[tokio::test]
async fn where_the_endpoint_is_detected_pkce_goes_where_it_can() {
    for (v1, v2) in [(true, true), (false, true), (false, false)] {
        let builder = RunaiFake::builder()
            .endpoint_version(EndpointVersion::V1, v1)
            .endpoint_version(EndpointVersion::V2, v2);
        let fake = builder.start().await.unwrap();
        let control_plane = control_plane(&fake, TokenEndpoint::Auto);
        let login = BrowserLogin::new(&control_plane).start().await.unwrap();
        assert_eq!(fake.secret_bearing_requests(), 0);
        let challenge = parameter(login.url(), "code_challenge");
        assert_eq!(challenge.is_some(), !v1);
        let back = redirect(login.url()).await;
        let (_, refresh_token) = tokio::join!(open(&back), login.finish());
        assert_eq!(fake.secret_bearing_requests(), 1);
        assert_eq!(last_body(&fake).contains("code_verifier="), !v1);
        gives_tokens(&fake, TokenEndpoint::Auto, refresh_token.unwrap()).await;
    }
}

#[tokio::test]
async fn pkce_is_left_out_where_the_document_does_not_list_it() {
    let fake = fake().await;
    let issuer = format!("{}/auth/realms/runai", fake.url());
    let document = format!(
        r#"{{"issuer":"{issuer}","token_endpoint":"{issuer}/t","authorization_endpoint":"{issuer}/a?x=1"}}"#
    );
    fake.always_on_version(EndpointVersion::Keycloak, Some(Behaviour::json(document)));
    let login = start(&fake).await;
    let url = login.url();
    assert!(url.starts_with(&format!("{issuer}/a?x=1&response_type=code&")));
    assert_eq!(parameter(url, "code_challenge"), None);
}

#[tokio::test]
async fn another_client_and_scope() {
    let fake = fake().await;
    let control_plane = control_plane(&fake, TokenEndpoint::V2);
    let login = BrowserLogin::new(&control_plane)
        .client_id("my-client")
        .scope("openid offline_access");
    let login = login.start().await.unwrap();
    assert_eq!(
        parameter(login.url(), "scope").unwrap(),
        "openid+offline_access"
    );
    let back = redirect(login.url()).await;
    let (_, refresh_token) = tokio::join!(open(&back), login.finish());
    assert!(last_body(&fake).contains("client_id=my-client"));
    let token = refresh_token.unwrap();
    let credentials = Credentials::refresh_token(token).client_id("my-client");
    let auth = authenticate(&fake, &ManualClock::new(), TokenEndpoint::V2, credentials);
    auth.cache().token().await.unwrap();
}

#[tokio::test]
async fn a_person_declines() {
    let fake = fake().await;
    let (finishing, back) = waiting(&fake).await;
    let (place, _) = back.split_once('?').unwrap();
    let state = parameter(&back, "state").unwrap();
    let words = "error=access_denied&error_description=not%0Ame";
    let page = open(&format!("{place}?{words}&state={state}")).await;
    assert!(page.body.contains("The login failed"), "{}", page.body);
    let error = finishing.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), LoginErrorKind::Refused);
    let text = error.message();
    let says = " refused the login (\"access_denied\", \"not\\nme\")";
    assert!(text.ends_with(says), "{text}");
    assert_eq!(fake.token_requests(), 0);
}

#[tokio::test]
async fn a_pasted_code_and_a_pasted_url() {
    let fake = fake().await;
    let login = start(&fake).await;
    let code = parameter(&redirect(login.url()).await, "code").unwrap();
    let token = login.finish_with_code(&format!("{code}\n")).await.unwrap();
    gives_tokens(&fake, TokenEndpoint::V2, token).await;

    let login = start(&fake).await;
    let back = redirect(login.url()).await;
    let token = login.finish_with_code(&back).await.unwrap();
    gives_tokens(&fake, TokenEndpoint::V2, token).await;

    // Another login's URL, and another login's code, which is good for that one's redirect alone.
    let (login, other) = (start(&fake).await, start(&fake).await);
    let before = fake.secret_bearing_requests();
    let error = login.finish_with_code(&redirect(other.url()).await).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), LoginErrorKind::Pasted);
    assert_eq!(fake.secret_bearing_requests(), before);
    let login = start(&fake).await;
    let code = parameter(&redirect(other.url()).await, "code").unwrap();
    let error = login.finish_with_code(&code).await.unwrap_err();
    assert_eq!(error.kind(), LoginErrorKind::Exchange);
    let text = chain(&error);
    assert!(
        text.contains("refused the login of client \"cli\" (400") && text.contains("log in again"),
        "{text}"
    );
    assert!(!text.contains(&code), "{text}");
}

#[tokio::test]
async fn a_login_page_elsewhere_must_be_named() {
    let fake = fake().await;
    let issuer = format!("{}/auth/realms/runai", fake.url());
    let document = |login: &str| {
        Behaviour::json(format!(
            r#"{{"issuer":"{issuer}","token_endpoint":"{issuer}/t"{login}}}"#
        ))
    };
    let control_plane = control_plane(&fake, TokenEndpoint::V2);
    let login = BrowserLogin::new(&control_plane);
    for (place, says) in [
        ("", "names no authorization endpoint"),
        (
            r#","authorization_endpoint":"https://evil.example/auth""#,
            "another origin, \"https://evil.example\"",
        ),
        (r#","authorization_endpoint":"/auth""#, "that is not a URL"),
    ] {
        fake.always_on_version(EndpointVersion::Keycloak, Some(document(place)));
        let error = login.clone().start().await.unwrap_err();
        assert_eq!(error.kind(), LoginErrorKind::Endpoint);
        assert!(error.to_string().contains(says), "{error}");
    }
    fake.always_on_version(EndpointVersion::Keycloak, Some(Behaviour::status(404)));
    let error = login.clone().start().await.unwrap_err();
    assert!(error.to_string().contains("ControlPlane::realm"), "{error}");

    let named = login
        .clone()
        .authorization_endpoint("https://idp.example/auth");
    let named = named.unwrap().start().await.unwrap();
    assert!(
        named
            .url()
            .starts_with("https://idp.example/auth?response_type=code&")
    );
    // No document says whether it knows PKCE; a server that does not ignores the challenge.
    assert!(parameter(named.url(), "code_challenge").is_some());
    for bad in ["http://idp.example/auth", "https://idp.example/#a", "auth"] {
        let error = login.clone().authorization_endpoint(bad).unwrap_err();
        assert!(error.to_string().contains("the authorization endpoint"));
    }
}

#[tokio::test]
async fn an_answer_without_a_refresh_token_says_what_to_do() {
    let fake = fake().await;
    let (finishing, back) = waiting(&fake).await;
    let answer = r#"{"access_token":"t0k3n","token_type":"Bearer","expires_in":60}"#;
    fake.on_token(Behaviour::json(answer));
    open(&back).await;
    let error = finishing.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), LoginErrorKind::NoRefreshToken);
    let text = chain(&error);
    assert!(
        text.contains("offline_access") && !text.contains("t0k3n"),
        "{text}"
    );
}

#[tokio::test]
async fn no_secret_shows() {
    let fake = fake().await;
    let login = start(&fake).await;
    let shown = format!("{login:?}");
    assert!(
        shown.contains("127.0.0.1") && shown.contains("cli"),
        "{shown}"
    );
    let (state, challenge) = (
        parameter(login.url(), "state").unwrap(),
        parameter(login.url(), "code_challenge").unwrap(),
    );
    assert!(state.len() == 43 && !shown.contains(&state) && !shown.contains(&challenge));
    // The token endpoint repeats what it was sent.
    let back = redirect(login.url()).await;
    let code = parameter(&back, "code").unwrap();
    let words = format!(r#"{{"error":"invalid_grant","error_description":"no {code}"}}"#);
    fake.on_token(Behaviour::status(400).body("application/json", words));
    let (page, finished) = tokio::join!(open(&back), login.finish());
    assert!(!page.body.contains(&code) && !page.body.contains(&state));
    let error = finished.unwrap_err();
    let shown = format!("{} {error:?}", chain(&error));
    assert!(!shown.contains(&code) && !shown.contains(&state), "{shown}");
    assert!(shown.contains("text that repeats a secret"), "{shown}");
}
