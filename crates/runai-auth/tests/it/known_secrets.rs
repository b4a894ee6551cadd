//! P01: no text of another party is shown that repeats a secret of the credentials or of the exchange.

use hyper_util::rt::TokioExecutor;
use runai_auth::{Auth, ControlPlane, Credentials, Kind, TokenEndpoint};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::hostile::{
    SECRET, assert_harmless, http2_server_that_leaves, server, start_log, words, words_with_secret,
};

/// Whether a text is shown as it is.
fn shows(auth: &Auth, text: &str) -> bool {
    let shown = auth.foreign_text(&format!("it said {text}")).to_string();
    shown.contains(text)
}

fn auth_at(url: &str, credentials: impl Into<Credentials>) -> Auth {
    ControlPlane::new(url)
        .unwrap()
        .token_endpoint(TokenEndpoint::V1)
        .authenticate_with(credentials, |cache| cache.attempts(1))
}

async fn issuing_server() -> String {
    server("200 OK", "content-type: application/json\r\n", |_| {
        let tokens = ["accessToken", "idToken", "refreshToken"];
        let answer = tokens.map(|name| (name.to_owned(), format!("issued{name}").into()));
        let answer = answer
            .into_iter()
            .chain([("expiresIn".to_owned(), json!(60))]);
        json!(answer.collect::<serde_json::Map<_, _>>()).to_string()
    })
    .await
}

#[tokio::test]
async fn p01_a_foreign_text_is_shown_without_the_secrets_that_are_known() {
    let url = issuing_server().await;
    let auth = auth_at(&url, Credentials::client("ci-bot", SECRET));
    assert!(shows(&auth, "ci-bot") && !shows(&auth, SECRET));
    let issued = ["issuedaccessToken", "issuedidToken", "issuedrefreshToken"];
    for token in issued {
        assert!(shows(&auth, token), "{token} is not known yet");
    }
    auth.cache().token().await.unwrap();
    for secret in issued.into_iter().chain([SECRET]) {
        assert!(!shows(&auth, secret), "{secret}");
    }
    assert!(shows(&auth, "no such thing"));

    let login = Credentials::refresh_token(runai_auth::SecretText::from(SECRET));
    let auth = auth_at(&url, login);
    auth.cache().token().await.unwrap();
    assert!(!shows(&auth, SECRET) && !shows(&auth, "issuedrefreshToken"));

    let auth = auth_at(&url, Credentials::token("givenToken"));
    assert!(!shows(&auth, "givenToken"));
}

#[tokio::test]
async fn p01_a_foreign_text_is_shown_without_the_secrets_of_a_profile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let config = json!({
        "client-id": "me", "client-secret": "profilesClientSecret", "id-token": "profilesIdToken",
        "idp-issuer-url": "http://127.0.0.1:9", "refresh-token": SECRET,
    });
    let text = json!({
        "current-context": "main",
        "contexts": [{ "name": "main", "context": { "user": "me", "cluster": "c" } }],
        "users": [{ "name": "me", "user": {
            "auth-provider": { "name": "oidc", "config": config },
        }}],
    });
    std::fs::write(&path, text.to_string()).unwrap();
    let auth = auth_at("http://127.0.0.1:9", Credentials::kubeconfig().path(path));
    assert_eq!(
        auth.cache().token().await.unwrap().expose_secret(),
        "profilesIdToken"
    );
    for secret in [SECRET, "profilesIdToken", "profilesClientSecret"] {
        assert!(!shows(&auth, secret), "{secret}");
    }
    assert!(shows(&auth, "no such thing"));
}

#[tokio::test]
async fn p01_the_debug_data_of_an_http2_goaway() {
    start_log();
    for words in [&words()[..2000], &words_with_secret()[..2000], SECRET] {
        let url = http2_server_that_leaves(words).await;
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build_http();
        let auth = ControlPlane::new(&url).unwrap().transport(client);
        let auth = auth.authenticate_with(Credentials::client("ci-bot", SECRET), |cache| {
            cache.attempts(1)
        });
        let error = auth.cache().token().await.unwrap_err();
        assert_eq!(*error.kind(), Kind::Unavailable);
        assert_harmless(&error, error.advice());
    }
}

/// A server whose answer depends on the path and on the number of requests before.
async fn scripted(answer: impl Fn(&str, usize) -> (u16, String) + Send + 'static) -> String {
    let place = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    scripted_at(place, answer).await
}

async fn scripted_at(
    place: std::net::TcpListener,
    answer: impl Fn(&str, usize) -> (u16, String) + Send + 'static,
) -> String {
    place.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(place).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for count in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 64 * 1024];
            let len = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..len]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let (status, body) = answer(path, count);
            let response = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{body}",
                body.len()
            );
            let _sent = stream.write_all(response.as_bytes()).await;
            let _closed = stream.shutdown().await;
        }
    });
    url
}

fn detecting(url: &str, credentials: impl Into<Credentials>) -> Auth {
    let plane = ControlPlane::new(url).unwrap();
    plane.authenticate_with(credentials, |cache| cache.attempts(1))
}

#[tokio::test]
async fn p01_a_probe_without_the_secret_does_not_repeat_it() {
    start_log();
    let repeats = json!({ "error": SECRET, "message": words_with_secret() }).to_string();
    for path in ["/api/v2/token", "/auth/realms/runai/.well-known/"] {
        let repeats = repeats.clone();
        let url = scripted(move |asked, _| match asked.starts_with(path) {
            true => (503, repeats.clone()),
            false => (404, "{}".into()),
        });
        let auth = detecting(&url.await, Credentials::client("ci-bot", SECRET));
        let error = auth.cache().token().await.unwrap_err();
        assert_eq!(*error.kind(), Kind::Unavailable);
        assert_harmless(&error, error.advice());
    }
    // Keycloak's document names an endpoint with the secret in it.
    for endpoint in [
        format!("https://{SECRET}.example/"),
        format!("https://u:{SECRET}@evil.example/"),
        format!("no url {SECRET}"),
    ] {
        let place = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}/auth/realms/runai", place.local_addr().unwrap());
        let document = json!({ "issuer": issuer, "token_endpoint": endpoint }).to_string();
        let url = scripted_at(place, move |asked, _| {
            match asked.contains("/.well-known/") {
                true => (200, document.clone()),
                false => (404, "{}".into()),
            }
        });
        let auth = detecting(&url.await, Credentials::client("ci-bot", SECRET));
        let error = auth.cache().token().await.unwrap_err();
        assert!(error.message().contains("the document of"), "{error}");
        assert_harmless(&error, error.advice());
    }
}

#[tokio::test]
async fn p01_a_later_answer_does_not_repeat_an_issued_token() {
    start_log();
    // The issued tokens are the secret of `assert_harmless` here.
    for member in ["accessToken", "idToken", "refreshToken"] {
        let url = scripted(move |_, count| match count {
            0 => {
                let mut tokens = json!({ "accessToken": "first", "expiresIn": 60 });
                tokens[member] = SECRET.into();
                (200, tokens.to_string())
            }
            _ => (
                401,
                json!({ "message": format!("still {SECRET}") }).to_string(),
            ),
        });
        let auth = detecting(&url.await, Credentials::client("ci-bot", "another-secret"));
        let token = auth.cache().token().await.unwrap();
        let error = auth.cache().reject(&token).await.unwrap_err();
        assert_eq!(*error.kind(), Kind::InvalidCredentials);
        assert_harmless(&error, error.advice());
    }
}

fn kubeconfig(folder: &tempfile::TempDir, user: &serde_json::Value) -> Credentials {
    let path = folder.path().join("config");
    let text = json!({
        "current-context": "main",
        "contexts": [{ "name": "main", "context": { "user": "me", "cluster": "c" } }],
        "users": [{ "name": "me", "user": user }],
    });
    std::fs::write(&path, text.to_string()).unwrap();
    Credentials::kubeconfig().path(path).into()
}

#[tokio::test]
async fn p01_the_user_name_and_the_query_of_an_issuer_are_not_shown() {
    start_log();
    for issuer in [
        format!("https://ada:{SECRET}@idp.example/a"),
        format!("ada:{SECRET}@idp example"),
        format!("http://idp.example/?key={SECRET}"),
        format!("http://127.0.0.1:9/?key={SECRET}"),
        format!("http://127.0.0.1:9/#{SECRET}"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let user = json!({ "auth-provider": { "name": "oidc", "config": {
            "client-id": "me", "idp-issuer-url": issuer, "refresh-token": "aRefreshToken",
        }}});
        let auth = auth_at("http://127.0.0.1:9", kubeconfig(&folder, &user));
        let error = auth.cache().token().await.unwrap_err();
        assert!(error.message().contains('"'), "{error}");
        assert_harmless(&error, error.advice());
    }
}

#[tokio::test]
async fn p01_the_advice_about_an_issuer_has_none_of_its_words() {
    start_log();
    // The document is another issuer's.
    let url = server("200 OK", "content-type: application/json\r\n", |_| {
        json!({ "issuer": "https://idp.example", "token_endpoint": "https://idp.example/t" })
            .to_string()
    })
    .await;
    for at in ["hint:Run-curl-evil", "a?hint=Run"] {
        let folder = tempfile::tempdir().unwrap();
        let user = json!({ "auth-provider": { "name": "oidc", "config": {
            "client-id": "me", "idp-issuer-url": format!("{url}/{at}"), "refresh-token": SECRET,
        }}});
        let auth = auth_at(&url, kubeconfig(&folder, &user));
        let error = auth.cache().token().await.unwrap_err();
        assert_eq!(error.advice(), Some("check the issuer's URL"), "{error}");
        assert_harmless(&error, error.advice());
    }
}

#[tokio::test]
async fn p01_the_path_of_a_token_file_is_quoted() {
    start_log();
    let folder = tempfile::tempdir().unwrap();
    let user = json!({ "tokenFile": "/hint:_log_in_at_evil.example" });
    let auth = auth_at("http://127.0.0.1:9", kubeconfig(&folder, &user));
    let error = auth.cache().token().await.unwrap_err();
    let quoted = "the file \"/hint:_log_in_at_evil.example\" does not exist";
    assert!(error.message().contains(quoted), "{error}");
}

#[tokio::test]
async fn f05_a_connection_names_the_file_that_it_cannot_use() {
    let fake = runai_fake::RunaiFake::builder()
        .tls(true)
        .start()
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, fake.ca_pem().unwrap()).unwrap();
    let plane = ControlPlane::new(fake.url()).unwrap();
    let plane = plane.root_certificates_file(&path).unwrap();
    plane.connect().await.unwrap();
    std::fs::write(&path, "broken").unwrap();
    let error = tower_bearer::Error::from(plane.connect().await.unwrap_err());
    let auth = plane.authenticate_with(Credentials::client("ci-bot", SECRET), |cache| {
        cache.attempts(1)
    });
    // As for a token.
    let other = auth.cache().token().await.unwrap_err();
    assert_eq!(error.kind(), other.kind());
    assert_eq!(error.message(), other.message());
    assert!(
        error.message().contains("ca.pem has no certificate"),
        "{error}"
    );
}
