//! Credentials that the control plane exchanges for a token.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use runai_auth::{
    BoxError, ClientGrant, Credentials, RefreshTokenStore, RefreshTokens, Secret, SecretText,
    TokenEndpoint, tower_bearer::clock::ManualClock,
};
use runai_fake::{Behaviour, RunaiFake};
use test_support::{Scratch, wait_for};

use super::{ENDPOINTS, authenticate, last_body};
use crate::support::{APPLICATION, SECRET, chain};

async fn fake() -> RunaiFake {
    RunaiFake::builder()
        .application(APPLICATION, SECRET)
        .user("ada@example.com", "pass&word")
        .external_token("outside-1", APPLICATION)
        .start()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_client_by_each_of_its_names_at_each_endpoint() {
    let fake = fake().await;
    for (endpoint, _) in ENDPOINTS {
        for credentials in [
            Credentials::client(APPLICATION, SECRET),
            Credentials::application(APPLICATION, SECRET),
            Credentials::service_account(APPLICATION, SECRET),
            Credentials::access_key(APPLICATION, SECRET),
            Credentials::client(APPLICATION, SECRET).grant(ClientGrant::ClientCredentials),
        ] {
            let auth = authenticate(&fake, &ManualClock::new(), endpoint, credentials);
            let token = auth.cache().token().await.unwrap();
            assert!(fake.accepts(token.expose_secret()));
        }
    }
    // A recording server's view of the last of v1.
    let auth = authenticate(
        &fake,
        &ManualClock::new(),
        TokenEndpoint::V1,
        Credentials::client(APPLICATION, SECRET).grant(ClientGrant::ClientCredentials),
    );
    auth.cache().token().await.unwrap();
    assert_eq!(
        last_body(&fake),
        format!(
            r#"{{"grantType":"client_credentials","clientID":"{APPLICATION}","clientSecret":"{SECRET}"}}"#
        )
    );
}

#[tokio::test]
async fn a_password_at_each_endpoint() {
    let fake = fake().await;
    for (endpoint, _) in ENDPOINTS {
        let credentials = Credentials::password("ada@example.com", "pass&word");
        let auth = authenticate(&fake, &ManualClock::new(), endpoint, credentials);
        let token = auth.cache().token().await.unwrap();
        assert!(fake.accepts(token.expose_secret()));
    }
}

#[tokio::test]
async fn a_rejected_password_is_not_sent_again_before_it_changes() {
    let fake = fake().await;
    let folder = Scratch::new();
    let path = folder.write("password", "wrong\n");
    let clock = ManualClock::new();
    let credentials = Credentials::password("ada@example.com", Secret::file(path));
    let auth = authenticate(&fake, &clock, TokenEndpoint::V1, credentials);
    let error = auth.cache().token().await.unwrap_err();
    let text = chain(&error);
    assert!(
        error.is_invalid_credentials() && error.retry_after().is_none(),
        "{text}"
    );
    assert!(
        text.contains("refused user \"ada@example.com\" (401")
            && text.contains("is not sent again"),
        "{text}"
    );
    assert!(!text.contains("wrong"), "{text}");
    for _ in 0..3 {
        clock.advance(Duration::from_secs(24 * 3600));
        assert!(
            auth.cache()
                .token()
                .await
                .unwrap_err()
                .is_invalid_credentials()
        );
        assert!(auth.cache().refresh().await.is_err());
    }
    assert_eq!(fake.token_requests(), 1);
    assert_eq!(auth.status().next_try_in, None);
    folder.write("password", "pass&word\n");
    // The file is read once a second at most, by the machine's own clock.
    wait_for("a token for the new password", async || {
        auth.cache().token().await.is_ok()
    })
    .await;
    assert_eq!(fake.token_requests(), 2);
}

/// The user's own store.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl RefreshTokenStore for Kept {
    async fn load(&self) -> Result<SecretText, BoxError> {
        let kept = self.0.lock().unwrap();
        Ok(kept.last().ok_or("nobody has logged in")?.as_str().into())
    }

    async fn save(&self, token: &SecretText) -> Result<(), BoxError> {
        self.0
            .lock()
            .unwrap()
            .push(token.expose_secret().to_owned());
        Ok(())
    }
}

#[tokio::test]
async fn a_rotated_refresh_token_is_handed_to_the_store_and_used_next() {
    for (endpoint, _) in ENDPOINTS {
        let fake = fake().await;
        let store = Kept::default();
        let first = fake.refresh_token_for("ada@example.com");
        store.0.lock().unwrap().push(first.clone());
        let credentials = Credentials::refresh_token(RefreshTokens::stored(store.clone()));
        let clock = ManualClock::new();
        let auth = authenticate(&fake, &clock, endpoint, credentials);
        auth.cache().token().await.unwrap();
        clock.advance(Duration::from_secs(2));
        auth.cache().refresh().await.unwrap();
        let kept = store.0.lock().unwrap().clone();
        assert_eq!(kept.len(), 3, "{endpoint:?}: {kept:?}");
        assert!(fake.refresh_token_is_live(&kept[2]) && !fake.refresh_token_is_live(&first));
    }
}

#[tokio::test]
async fn a_refresh_token_whose_session_has_ended_is_sent_once() {
    let fake = fake().await;
    let token = fake.refresh_token_for("ada@example.com");
    let clock = ManualClock::new();
    let credentials = Credentials::refresh_token(token.as_str()).client_id("cli");
    let auth = authenticate(&fake, &clock, TokenEndpoint::V2, credentials);
    auth.cache().token().await.unwrap();
    fake.end_sessions();
    clock.advance(Duration::from_secs(2));
    let error = auth.cache().refresh().await.unwrap_err();
    let text = chain(&error);
    assert!(
        error.is_invalid_credentials() && text.contains("log in again"),
        "{text}"
    );
    assert!(!text.contains(&token), "{text}");
    clock.advance(Duration::from_secs(24 * 3600));
    assert!(
        auth.cache()
            .token()
            .await
            .unwrap_err()
            .is_invalid_credentials()
    );
    assert_eq!(fake.token_requests(), 2);
}

#[tokio::test]
async fn an_external_token_from_a_file_a_program_or_a_function() {
    let fake = fake().await;
    let folder = Scratch::new();
    let path = folder.write("projected", "outside-1\n");
    let found = || async { Ok(SecretText::from("outside-1")) };
    for token in [
        Secret::file(path),
        Secret::command("printf", ["outside-1\\n"]),
        Secret::from_fn(found),
    ] {
        let credentials = Credentials::external_token(token);
        let auth = authenticate(&fake, &ManualClock::new(), TokenEndpoint::Auto, credentials);
        let token = auth.cache().token().await.unwrap();
        assert!(fake.accepts(token.expose_secret()));
        assert_eq!(
            last_body(&fake),
            r#"{"grantType":"external_token_exchange","externalToken":"outside-1"}"#
        );
    }
    let wrong = Credentials::external_token("outside-2");
    let auth = authenticate(&fake, &ManualClock::new(), TokenEndpoint::V1, wrong);
    let text = chain(&auth.cache().token().await.unwrap_err());
    assert!(text.contains("refused the external token (401"), "{text}");
    let only_v1 = Credentials::external_token("outside-1");
    let auth = authenticate(&fake, &ManualClock::new(), TokenEndpoint::V2, only_v1);
    let text = chain(&auth.cache().token().await.unwrap_err());
    assert!(
        text.contains("use /api/v1/token, the only one that accepts it"),
        "{text}"
    );
}

#[tokio::test]
async fn a_fixed_token_and_a_token_file() {
    let fake = fake().await;
    let by_client = Credentials::client(APPLICATION, SECRET);
    let clock = ManualClock::new();
    let auth = authenticate(&fake, &clock, TokenEndpoint::V1, by_client);
    let token = auth.cache().token().await.unwrap();
    let text = token.expose_secret().to_owned();
    let folder = Scratch::new();
    let path = folder.write("token", format!("{text}\n"));
    for credentials in [
        Credentials::token(text.as_str()),
        Credentials::token_file(&path),
    ] {
        let auth = authenticate(&fake, &clock, TokenEndpoint::V1, credentials);
        assert_eq!(auth.cache().token().await.unwrap().expose_secret(), text);
    }
    assert_eq!(fake.token_requests(), 1);
    // Its claims are `{"exp":1}`.
    let credentials = Credentials::token("e30.eyJleHAiOjF9.c2ln");
    let auth = authenticate(&fake, &clock, TokenEndpoint::V1, credentials);
    let error = auth.cache().token().await.unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("the fixed token expired on Thu, 01 Jan 1970 00:00:01 GMT")
            && text.contains("cannot be refreshed: provide a new one"),
        "{text}"
    );
}

#[tokio::test]
async fn a_password_of_a_function_is_not_sent_again_and_a_new_one_is_found() {
    let fake = fake().await;
    let password = Arc::new(Mutex::new("wrong"));
    let current = password.clone();
    let secret = Secret::from_fn(move || {
        let text = *current.lock().unwrap();
        async move { Ok(text.into()) }
    });
    let clock = ManualClock::new();
    let credentials = Credentials::password("ada@example.com", secret);
    let auth = authenticate(&fake, &clock, TokenEndpoint::V1, credentials);
    for _ in 0..3 {
        assert!(
            auth.cache()
                .token()
                .await
                .unwrap_err()
                .is_invalid_credentials()
        );
        clock.advance(Duration::from_secs(600));
    }
    assert_eq!(fake.token_requests(), 1);
    *password.lock().unwrap() = "pass&word";
    auth.cache().token().await.unwrap();
    assert_eq!(fake.token_requests(), 2);
}

/// The change is noticed only after the fetch that has used it.
#[tokio::test]
async fn a_wrong_password_is_sent_once_however_late_its_file_is_looked_at() {
    let fake = fake().await;
    let folder = Scratch::new();
    let path = folder.write("password", "pass&word");
    let clock = ManualClock::new();
    let credentials = Credentials::password("ada@example.com", Secret::file(path));
    let auth = authenticate(&fake, &clock, TokenEndpoint::V1, credentials);
    auth.cache().token().await.unwrap();
    folder.write("password", "wrong");
    clock.advance(Duration::from_secs(5));
    assert!(
        auth.cache()
            .refresh()
            .await
            .unwrap_err()
            .is_invalid_credentials()
    );
    // The file is read once a second at most, by the machine's own clock, and nothing shows when that was.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(
        auth.cache()
            .refresh()
            .await
            .unwrap_err()
            .is_invalid_credentials()
    );
    assert_eq!(fake.token_requests(), 2);
}

#[tokio::test]
async fn a_firewalls_page_does_not_invalidate_a_password_or_a_refresh_token() {
    let fake = fake().await;
    let page = Behaviour::status(403).body("text/html", "<html>blocked</html>");
    let refresh = fake.refresh_token_for("ada@example.com");
    for credentials in [
        Credentials::password("ada@example.com", "pass&word"),
        Credentials::refresh_token(refresh.as_str()),
    ] {
        let clock = ManualClock::new();
        let auth = authenticate(&fake, &clock, TokenEndpoint::V1, credentials);
        fake.on_token(page.clone());
        assert!(
            !auth
                .cache()
                .token()
                .await
                .unwrap_err()
                .is_invalid_credentials()
        );
        clock.advance(Duration::from_secs(60));
        auth.cache().token().await.unwrap();
    }
}
