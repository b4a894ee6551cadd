//! Secrets that change under a running program.

use runai_auth::{Credentials, Secret, TokenEndpoint, tower_bearer::clock::ManualClock};
use runai_fake::RunaiFake;
use test_support::{Scratch, wait_for};

use super::{authenticate, last_body};
use crate::support::{APPLICATION, SECRET};

/// Asks for a token until the file has been read again: once a second at most, by the machine's own clock.
async fn soon_gets_a_token(auth: &runai_auth::Auth) {
    wait_for("a token for the new secret", async || {
        auth.cache().token().await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn e13_a_new_secret_is_tried_at_once() {
    let fake = RunaiFake::builder()
        .application(APPLICATION, SECRET)
        .application("other-app", "other-secret")
        .start()
        .await
        .unwrap();
    let folder = Scratch::new();
    folder.write("k8s/client-id", APPLICATION);
    folder.write("k8s/client-secret", "wrong");
    folder.write(
        "vault.json",
        r#"{"clientId":"ci-bot","clientSecret":"wrong"}"#,
    );
    folder.write("vault.env", "CLIENT_ID=ci-bot\nCLIENT_SECRET=wrong\n");
    folder.write("secret", "wrong");
    // Both the id and the secret may be others.
    let rotate = |folder: &Scratch| {
        folder.write("k8s/client-id", "other-app\n");
        folder.write("k8s/client-secret", "other-secret\n");
        folder.write(
            "vault.json",
            r#"{"clientId":"other-app","clientSecret":"other-secret"}"#,
        );
        folder.write(
            "vault.env",
            "CLIENT_ID=other-app\nCLIENT_SECRET='other-secret'\n",
        );
        folder.write("secret", SECRET);
    };
    let from_files = |name: &str| Credentials::from_files(folder.path(name)).unwrap();
    let all = [
        from_files("k8s"),
        from_files("vault.json"),
        from_files("vault.env"),
        Credentials::client(APPLICATION, Secret::file(folder.path("secret"))).into(),
    ];
    let auths = all.map(|credentials| {
        authenticate(&fake, &ManualClock::new(), TokenEndpoint::Auto, credentials)
    });
    for auth in &auths {
        assert!(
            auth.cache()
                .token()
                .await
                .unwrap_err()
                .is_invalid_credentials()
        );
    }
    rotate(&folder);
    for auth in &auths {
        soon_gets_a_token(auth).await;
        let who = last_body(&fake);
        assert!(who.contains("other-app") || who.contains(SECRET), "{who}");
    }
    assert_eq!(fake.token_requests(), 2 * auths.len());
}

#[tokio::test]
async fn incomplete_files_are_an_error_at_once() {
    let folder = Scratch::new();
    folder.write("half/client-id", APPLICATION);
    for (name, says) in [
        ("half", "client-secret does not exist"),
        ("nowhere", "nowhere does not exist"),
    ] {
        let error = Credentials::from_files(folder.path(name)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}
