//! P01: no text of another party is shown that repeats a secret of the credentials or of the exchange.

use runai_auth::{Auth, ControlPlane, Credentials, TokenEndpoint};
use serde_json::json;

use crate::hostile::{SECRET, server};

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
