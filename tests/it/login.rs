//! A person logs in with a browser, which the tests play.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client as Hyper, rt::TokioExecutor};
use runai_auth::{
    BrowserLogin, ControlPlane, Credentials, LoginError, LoginErrorKind, PendingLogin, SecretText,
    TokenEndpoint, tower_bearer::clock::ManualClock,
};
use runai_fake::{Behaviour, Form, RunaiFake};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

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

fn port(redirect_uri: &str) -> u16 {
    let uri: Uri = redirect_uri.parse().unwrap();
    uri.port_u16().unwrap()
}

type Finishing = JoinHandle<Result<SecretText, LoginError>>;

/// A login that is waited for, its URL and the redirect that would end it.
async fn waiting(fake: &RunaiFake) -> (Finishing, String) {
    let login = start(fake).await;
    let redirect = redirect(login.url()).await;
    (tokio::spawn(login.finish()), redirect)
}

/// What all ends with.
async fn ends_well(finishing: Finishing, redirect: &str) {
    assert_eq!(open(redirect).await.status, StatusCode::OK);
    finishing.await.unwrap().unwrap();
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
    for (endpoint, form) in ENDPOINTS {
        let control_plane = control_plane(&fake, endpoint);
        let login = BrowserLogin::new(&control_plane).start().await.unwrap();
        let url = login.url().to_owned();
        assert_eq!(parameter(&url, "client_id").unwrap(), "cli");
        let with_pkce = form != Form::V1;
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
async fn where_the_endpoint_is_found_out_pkce_goes_where_it_can() {
    for (v1, v2) in [(true, true), (false, true), (false, false)] {
        let builder = RunaiFake::builder().form(Form::V1, v1).form(Form::V2, v2);
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
    fake.always_on_form(Form::Keycloak, Some(Behaviour::json(document)));
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
async fn a_forged_redirect_neither_ends_the_login_nor_brings_a_code() {
    let fake = fake().await;
    let (finishing, back) = waiting(&fake).await;
    let (place, _) = back.split_once('?').unwrap();
    let state = parameter(&back, "state").unwrap();
    for query in [
        String::new(),
        "?code=forged".into(),
        "?code=forged&state=forged".into(),
        "?error=access_denied&state=forged".into(),
        format!("?code=forged&state={state}&state=forged"),
        format!("?code=forged&state={}", &state[..42]),
        format!("?state={state}"),
    ] {
        let page = open(&format!("{place}{query}")).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(!page.body.contains("forged"), "{}", page.body);
    }
    assert_eq!(fake.secret_bearing_requests(), 0);
    ends_well(finishing, &back).await;
}

#[tokio::test]
async fn other_paths_methods_and_hosts_do_not_end_it() {
    let fake = fake().await;
    let (finishing, back) = waiting(&fake).await;
    let port = port(&back);
    let favicon = open(&format!("http://127.0.0.1:{port}/favicon.ico")).await;
    assert_eq!(favicon.status, StatusCode::NOT_FOUND);
    let elsewhere = back.replace("/callback", "/callback/");
    assert_eq!(open(&elsewhere).await.status, StatusCode::NOT_FOUND);
    let posted = request(Request::post(&back)).await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    for host in [
        format!("localhost:{port}"),
        format!("evil.example:{port}"),
        "127.0.0.1".into(),
    ] {
        let page = request(Request::get(&back).header(header::HOST, &host)).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{host}");
    }
    // Both names at once, and a whole URL in the request line.
    let path = back.split_once("/callback").unwrap().1;
    for head in [
        format!("GET /callback{path} HTTP/1.1\r\n"),
        format!("GET /callback{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil.example\r\n"),
        format!("GET http://evil.example/callback{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"),
    ] {
        let answer = raw(port, &format!("{head}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{head}: {answer}");
    }
    ends_well(finishing, &back).await;
}

/// Sends bytes, and reads until the connection ends.
async fn raw(port: u16, text: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // Who is cut off may notice while it writes.
    let _cut = stream.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    let _cut = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_head_that_is_too_long_is_cut_off() {
    let fake = fake().await;
    let (finishing, back) = waiting(&fake).await;
    let port = port(&back);
    let path = back.split_once("/callback").unwrap().1;
    for (len, status) in [(20 * 1024, "431"), (8 * 1024, "200")] {
        let answer = raw(
            port,
            &format!(
                "GET /callback{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX: {}\r\n\r\n",
                "x".repeat(len)
            ),
        )
        .await;
        assert_eq!(answer.get(9..12).unwrap_or("431"), status, "{answer}");
    }
    finishing.await.unwrap().unwrap();
}

#[tokio::test]
async fn more_than_sixteen_connections_are_cut_off() {
    let fake = fake().await;
    let (finishing, back) = waiting(&fake).await;
    let address = ("127.0.0.1", port(&back));
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let mut one_more = TcpStream::connect(address).await.unwrap();
    assert_eq!(one_more.read(&mut [0]).await.unwrap_or(0), 0);
    // Where one has gone there is place again.
    drop(idle.pop());
    let http = Hyper::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    loop {
        let request = Request::get(&back).body(Full::<Bytes>::default()).unwrap();
        match http.request(request).await {
            Ok(response) => break assert_eq!(response.status(), StatusCode::OK),
            Err(_) => tokio::task::yield_now().await,
        }
    }
    finishing.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_person_who_says_no() {
    let fake = fake().await;
    let (finishing, back) = waiting(&fake).await;
    let (place, _) = back.split_once('?').unwrap();
    let state = parameter(&back, "state").unwrap();
    let page = open(&format!(
        "{place}?error=access_denied&error_description=not%0Ame&state={state}"
    ));
    assert!(page.await.body.contains("There was no login"));
    let error = finishing.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), LoginErrorKind::Refused);
    let text = error.to_string();
    assert_eq!(text, "the login was refused: access_denied, \"not me\"");
    assert_eq!(fake.token_requests(), 0);
}

#[tokio::test]
async fn nobody_comes_in_time() {
    let fake = fake().await;
    let control_plane = control_plane(&fake, TokenEndpoint::V1);
    let limit = Duration::from_millis(20);
    let login = BrowserLogin::new(&control_plane).time_limit(limit);
    let login = login.start().await.unwrap();
    let port = port(&redirect(login.url()).await);
    let error = login.finish().await.unwrap_err();
    assert_eq!(error.kind(), LoginErrorKind::TimedOut);
    assert!(error.to_string().contains("within 0.02 s"), "{error}");
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
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

    // Another login's URL, and another login's code, which its challenge keeps out.
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
        text.contains("refused the login of client `cli` (400") && text.contains("log in again"),
        "{text}"
    );
    assert!(!text.contains(&code), "{text}");
}

#[tokio::test]
async fn dropping_a_login_closes_its_port() {
    let fake = fake().await;
    let login = start(&fake).await;
    let port = port(&redirect(login.url()).await);
    drop(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    drop(login);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    // While it is waited for, too.
    let (finishing, back) = waiting(&fake).await;
    open(&format!("{back}&state=twice")).await;
    finishing.abort();
    assert!(finishing.await.unwrap_err().is_cancelled());
    let address = ("127.0.0.1", self::port(&back));
    assert!(TcpStream::connect(address).await.is_err());
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
        ("", "does not say where people log in"),
        (
            r#","authorization_endpoint":"https://evil.example/auth""#,
            "another origin, https://evil.example",
        ),
        (r#","authorization_endpoint":"/auth""#, "that is no URL"),
    ] {
        fake.always_on_form(Form::Keycloak, Some(document(place)));
        let error = login.clone().start().await.unwrap_err();
        assert_eq!(error.kind(), LoginErrorKind::Endpoint);
        assert!(error.to_string().contains(says), "{error}");
    }
    fake.always_on_form(Form::Keycloak, Some(Behaviour::status(404)));
    let error = login.clone().start().await.unwrap_err();
    assert!(error.to_string().contains("ControlPlane::realm"), "{error}");

    let told = login
        .clone()
        .authorization_endpoint("https://idp.example/auth");
    let told = told.unwrap().start().await.unwrap();
    assert!(
        told.url()
            .starts_with("https://idp.example/auth?response_type=code&")
    );
    // No document says whether it knows PKCE, and who does not passes over it.
    assert!(parameter(told.url(), "code_challenge").is_some());
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
    assert!(shown.contains("words that repeat the secret"), "{shown}");
}
