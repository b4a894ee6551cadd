//! The login of the Run:ai command line, version 2, with its files as it leaves them.

use runai_auth::{Auth, Credentials, TokenEndpoint, tower_bearer::clock::ManualClock};
use runai_fake::RunaiFake;
use test_support::{Scratch, wait_for};

use super::authenticate;
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

fn login(folder: &Scratch, url: &str, token: &str, refresh: &str) {
    folder.write(
        "config.json",
        format!(r#"{{"control_plane":{{"url":"{url}"}}}}"#),
    );
    folder.write(
        "authentication.json",
        format!(
            "{{\n  \"accessToken\": \"{}\",\n  \"refreshToken\": \"{refresh}\"\n}}\n",
            encoded(token)
        ),
    );
}

fn with_cli(fake: &RunaiFake, folder: &Scratch, redeems: bool) -> Auth {
    let cli = Credentials::cli_in(folder.root());
    let cli = if redeems {
        cli.redeem_refresh_token()
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
    let folder = Scratch::new();
    login(&folder, fake.url(), &token, "r");
    let auth = with_cli(&fake, &folder, false);
    assert_eq!(auth.cache().token().await.unwrap().expose_secret(), token);
    assert_eq!(fake.token_requests(), 0);
}

#[tokio::test]
async fn another_control_planes_login_is_not_used() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let token = token(&fake).await;
    let folder = Scratch::new();
    login(&folder, "https://other.run.ai", &token, "r");
    let error = with_cli(&fake, &folder, true)
        .cache()
        .token()
        .await
        .unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("its control plane is \"https://other.run.ai\"")
            && text.contains("run `runai login`"),
        "{text}"
    );
}

#[tokio::test]
async fn an_expired_login_says_so_and_its_refresh_token_is_not_redeemed() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let refresh = fake.refresh_token_for("test-user");
    let folder = Scratch::new();
    login(&folder, fake.url(), "e30.eyJleHAiOjF9.c2ln", &refresh);
    let error = with_cli(&fake, &folder, false)
        .cache()
        .token()
        .await
        .unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("expired on Thu, 01 Jan 1970") && text.contains("run `runai login`"),
        "{text}"
    );
    assert!(fake.refresh_token_is_live(&refresh));
    assert_eq!(fake.token_requests(), 0);
}

#[tokio::test]
async fn with_consent_it_is_refreshed_and_written_back() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let refresh = fake.refresh_token_for("test-user");
    let folder = Scratch::new();
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
    // A token that is asked for once more, after a rejection, say, is refreshed.
    fake.revoke_all();
    let refreshed = other.cache().reject(&token).await.unwrap();
    assert!(fake.accepts(refreshed.expose_secret()));
    assert_eq!(fake.token_requests(), 2);
}

#[cfg(unix)]
#[tokio::test]
async fn a_refresh_token_that_could_not_be_written_back_is_not_redeemed() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let refresh = fake.refresh_token_for("test-user");
    let folder = Scratch::new();
    login(&folder, fake.url(), "e30.eyJleHAiOjF9.c2ln", &refresh);
    // Another program holds the lock.
    folder.write("authentication.json.lock", "");
    let error = with_cli(&fake, &folder, true)
        .cache()
        .token()
        .await
        .unwrap_err();
    let text = chain(&error);
    assert!(text.contains("is not redeemed"), "{text}");
    assert!(fake.refresh_token_is_live(&refresh));
}

#[tokio::test]
async fn a_new_login_is_noticed() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let folder = Scratch::new();
    login(&folder, fake.url(), "e30.eyJleHAiOjF9.c2ln", "");
    let auth = with_cli(&fake, &folder, false);
    auth.cache().token().await.unwrap_err();
    let token = token(&fake).await;
    login(&folder, fake.url(), &token, "");
    wait_for("the token of the new login", async || {
        auth.cache().token().await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_login_that_comes_during_the_exchange_is_not_overwritten() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let refresh = fake.refresh_token_for("test-user");
    let folder = Scratch::new();
    login(&folder, fake.url(), "e30.eyJleHAiOjF9.c2ln", &refresh);
    let auth = with_cli(&fake, &folder, true);
    let gate = fake.hold_token();
    let cache = auth.cache().clone();
    let fetching = tokio::spawn(async move { cache.token().await });
    gate.reached().await;
    // Meanwhile a person logs in to another control plane.
    login(
        &folder,
        "https://other.run.ai",
        "other.to.ken",
        "other-refresh",
    );
    let theirs = folder.read("authentication.json");
    gate.release();
    let error = fetching.await.unwrap().unwrap_err();
    assert!(chain(&error).contains("https://other.run.ai"), "{error}");
    assert_eq!(folder.read("authentication.json"), theirs);
}

#[tokio::test]
async fn a_new_token_is_written_back_where_refresh_tokens_stay_the_same() {
    let fake = RunaiFake::builder()
        .rotate_refresh_tokens(false)
        .start()
        .await
        .unwrap();
    let first = token(&fake).await;
    let refresh = fake.refresh_token_for("test-user");
    let folder = Scratch::new();
    login(&folder, fake.url(), &first, &refresh);
    let auth = with_cli(&fake, &folder, true);
    let mut last = auth.cache().token().await.unwrap();
    assert_eq!(last.expose_secret(), first);
    for _ in 0..2 {
        fake.revoke_all();
        last = auth.cache().reject(&last).await.unwrap();
        assert!(fake.accepts(last.expose_secret()));
        let left = folder.read("authentication.json");
        assert!(left.contains(&encoded(last.expose_secret())), "{left}");
        assert!(left.contains(&format!("\"{refresh}\"")), "{left}");
    }
}

#[tokio::test]
async fn a_token_that_is_rejected_and_cannot_be_refreshed_says_what_to_do() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let first = token(&fake).await;
    let folder = Scratch::new();
    login(&folder, fake.url(), &first, "r");
    let text = folder.write("token", &first);
    for (auth, says) in [
        (with_cli(&fake, &folder, false), "run `runai login`"),
        (
            authenticate(
                &fake,
                &ManualClock::new(),
                TokenEndpoint::Auto,
                Credentials::token_file(text),
            ),
            "provide a new one",
        ),
    ] {
        let token = auth.cache().token().await.unwrap();
        let error = auth.cache().reject(&token).await.unwrap_err();
        let text = chain(&error);
        assert!(text.contains(says) && text.contains("rejected"), "{text}");
    }
}

#[tokio::test]
async fn a_second_cache_of_one_login_takes_the_token_that_is_there() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let first = token(&fake).await;
    let refresh = fake.refresh_token_for("test-user");
    let folder = Scratch::new();
    login(&folder, fake.url(), &first, &refresh);
    fake.clear_journal();
    let cli = Credentials::cli_in(folder.root()).redeem_refresh_token();
    for _ in 0..2 {
        let auth = authenticate(&fake, &ManualClock::new(), TokenEndpoint::Auto, cli.clone());
        assert_eq!(auth.cache().token().await.unwrap().expose_secret(), first);
    }
    assert_eq!(fake.token_requests(), 0);
}
