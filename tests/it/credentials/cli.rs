//! The login of the Run:ai command line, version 2, with its files as it leaves them.

use std::time::Duration;

use runai_auth::{Auth, Credentials, TokenEndpoint, tower_bearer::clock::ManualClock};
use runai_fake::RunaiFake;

use super::{Folder, authenticate};
use crate::support::chain;

/// Base64url without padding.
fn encoded(text: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(text)
}

/// A token for a person, as a login gives it.
async fn token(fake: &RunaiFake) -> String {
    let credentials = Credentials::password("test-user", "test-password");
    let auth = authenticate(fake, &ManualClock::new(), TokenEndpoint::V1, credentials);
    auth.cache()
        .token()
        .await
        .unwrap()
        .expose_secret()
        .to_owned()
}

fn login(folder: &Folder, url: &str, token: &str, refresh: &str) {
    folder.write(
        "config.json",
        &format!(r#"{{"control_plane":{{"url":"{url}"}}}}"#),
    );
    folder.write(
        "authentication.json",
        &format!(
            "{{\n  \"accessToken\": \"{}\",\n  \"refreshToken\": \"{refresh}\"\n}}\n",
            encoded(token)
        ),
    );
}

fn with_cli(fake: &RunaiFake, folder: &Folder, spends: bool) -> Auth {
    let cli = Credentials::cli_in(folder.root());
    let cli = if spends {
        cli.spend_refresh_token()
    } else {
        cli
    };
    authenticate(fake, &ManualClock::new(), TokenEndpoint::Auto, cli)
}

#[tokio::test]
async fn its_token_is_taken_and_no_request_sent() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let token = token(&fake).await;
    fake.clear_journal();
    let folder = Folder::new();
    login(&folder, fake.url(), &token, "r");
    let auth = with_cli(&fake, &folder, false);
    assert_eq!(auth.cache().token().await.unwrap().expose_secret(), token);
    assert_eq!(fake.token_requests(), 0);
}

#[tokio::test]
async fn another_control_planes_login_is_not_used() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let token = token(&fake).await;
    let folder = Folder::new();
    login(&folder, "https://other.run.ai", &token, "r");
    let error = with_cli(&fake, &folder, true)
        .cache()
        .token()
        .await
        .unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("its control plane is https://other.run.ai")
            && text.contains("run `runai login`"),
        "{text}"
    );
}

#[tokio::test]
async fn a_login_that_ended_says_so_and_its_refresh_token_is_not_spent() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let refresh = fake.refresh_token_for("test-user");
    let folder = Folder::new();
    login(&folder, fake.url(), "e30.eyJleHAiOjF9.c2ln", &refresh);
    let error = with_cli(&fake, &folder, false)
        .cache()
        .token()
        .await
        .unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("ended on Thu, 01 Jan 1970") && text.contains("run `runai login`"),
        "{text}"
    );
    assert!(fake.refresh_token_is_live(&refresh));
    assert_eq!(fake.token_requests(), 0);
}

#[tokio::test]
async fn with_consent_it_is_renewed_and_written_back() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let refresh = fake.refresh_token_for("test-user");
    let folder = Folder::new();
    login(&folder, fake.url(), "e30.eyJleHAiOjF9.c2ln", &refresh);
    let auth = with_cli(&fake, &folder, true);
    let token = auth.cache().token().await.unwrap();
    assert!(fake.accepts(token.expose_secret()));
    let left = folder.read("authentication.json");
    assert!(left.contains(&encoded(token.expose_secret())), "{left}");
    assert!(!left.contains(&format!("\"{refresh}\"")), "{left}");
    // Another process goes on with what was written.
    let other = with_cli(&fake, &folder, true);
    assert_eq!(
        other.cache().token().await.unwrap().expose_secret(),
        token.expose_secret()
    );
    assert_eq!(fake.token_requests(), 1);
    // A token that is asked for once more, after a rejection, say, is renewed.
    fake.revoke_all();
    let renewed = other.cache().reject(&token).await.unwrap();
    assert!(fake.accepts(renewed.expose_secret()));
    assert_eq!(fake.token_requests(), 2);
}

#[cfg(unix)]
#[tokio::test]
async fn a_refresh_token_that_could_not_be_written_back_is_not_spent() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let refresh = fake.refresh_token_for("test-user");
    let folder = Folder::new();
    login(&folder, fake.url(), "e30.eyJleHAiOjF9.c2ln", &refresh);
    // Another program holds the lock.
    folder.write("authentication.json.lock", "");
    let error = with_cli(&fake, &folder, true)
        .cache()
        .token()
        .await
        .unwrap_err();
    let text = chain(&error);
    assert!(text.contains("is not spent"), "{text}");
    assert!(fake.refresh_token_is_live(&refresh));
}

#[tokio::test]
async fn a_new_login_is_noticed() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let folder = Folder::new();
    login(&folder, fake.url(), "e30.eyJleHAiOjF9.c2ln", "");
    let auth = with_cli(&fake, &folder, false);
    auth.cache().token().await.unwrap_err();
    let token = token(&fake).await;
    login(&folder, fake.url(), &token, "");
    let noticed = async {
        while auth.cache().token().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noticed)
        .await
        .unwrap();
}
