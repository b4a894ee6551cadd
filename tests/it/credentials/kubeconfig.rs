//! Logins in Kubernetes profiles, with the files as the tools leave them.

use runai_auth::{Auth, Credentials, TokenEndpoint, tower_bearer::clock::ManualClock};
use runai_fake::RunaiFake;
use test_support::{Scratch, wait_for};

use super::authenticate;
use crate::support::chain;

fn profile(user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\n# made by a tool\ncurrent-context: work\ncontexts:\n\
         - name: work\n  context: {{cluster: c, user: ada}}\n- name: other\n  context: {{cluster: c, user: bob}}\n\
         users:\n- name: ada\n  user:\n{user}\n- name: bob\n  user: {{token: bobs-token}}\n"
    )
}

fn oidc(fake: &RunaiFake, id_token: &str, refresh: &str) -> String {
    profile(&format!(
        "    auth-provider:\n      name: oidc\n      config:\n        auth-flow: cli\n        client-id: cli\n        \
         id-token: {id_token}\n        idp-issuer-url: {}/auth/realms/runai\n        realm: runai\n        \
         refresh-token: {refresh} # keep me",
        fake.url()
    ))
}

fn with(fake: &RunaiFake, folder: &Scratch, text: &str) -> Auth {
    let path = folder.write("config", text);
    let credentials = Credentials::kubeconfig().path(path);
    authenticate(fake, &ManualClock::new(), TokenEndpoint::Auto, credentials)
}

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

#[tokio::test]
async fn the_id_token_until_it_ends_then_the_refresh_token_at_the_issuer() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let folder = Scratch::new();
    let (id_token, refresh) = (token(&fake).await, fake.refresh_token_for("test-user"));
    fake.clear_journal();
    let auth = with(&fake, &folder, &oidc(&fake, &id_token, &refresh));
    let first = auth.cache().token().await.unwrap();
    assert_eq!(first.expose_secret(), id_token);
    assert!(fake.journal().is_empty());
    // Revoked, or about to expire: the refresh token is redeemed at the issuer's discovered endpoint.
    fake.revoke_all();
    let second = auth.cache().reject(&first).await.unwrap();
    assert!(fake.accepts(second.expose_secret()));
    let paths: Vec<_> = fake.journal().iter().map(|it| it.path.clone()).collect();
    assert_eq!(
        paths,
        [
            "/auth/realms/runai/.well-known/openid-configuration",
            "/auth/realms/runai/protocol/openid-connect/token",
        ]
    );
    // Both are in the file, whose remarks stay.
    let left = folder.read("config");
    assert!(
        left.contains(second.expose_secret()) && !left.contains(&id_token),
        "{left}"
    );
    assert!(
        left.contains("# made by a tool") && left.contains("# keep me"),
        "{left}"
    );
    assert!(!fake.refresh_token_is_live(&refresh));
}

#[tokio::test]
async fn an_issuer_elsewhere_is_asked_only_over_tls_and_on_its_own_origin() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let refresh = fake.refresh_token_for("test-user");
    let folder = Scratch::new();
    let ended = "e30.eyJleHAiOjF9.c2ln";
    let text = oidc(&fake, ended, &refresh).replace(fake.url(), "http://issuer.example");
    let error = with(&fake, &folder, &text)
        .cache()
        .token()
        .await
        .unwrap_err();
    assert!(
        chain(&error).contains("is not an https URL"),
        "{}",
        chain(&error)
    );
    fake.set_discovered_token_endpoint(Some("https://evil.example/token".into()));
    let text = oidc(&fake, ended, &refresh);
    let error = with(&fake, &folder, &text)
        .cache()
        .token()
        .await
        .unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("another origin, \"https://evil.example\""),
        "{text}"
    );
    assert!(fake.refresh_token_is_live(&refresh));
    assert_eq!(fake.secret_bearing_requests(), 0);
}

#[tokio::test]
async fn tokens_files_and_programs_of_a_profile() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let folder = Scratch::new();
    let id_token = token(&fake).await;
    folder.write("token", format!("{id_token}\n"));
    let exec = format!(
        "    exec:\n      apiVersion: client.authentication.k8s.io/v1\n      interactiveMode: Never\n      \
         command: printf\n      args: ['{{\"kind\":\"ExecCredential\",\"apiVersion\":\
         \"client.authentication.k8s.io/v1\",\"status\":{{\"token\":\"{id_token}\"}}}}']"
    );
    for user in [
        format!("    token: {id_token}"),
        "    tokenFile: token".into(),
        exec,
    ] {
        let auth = with(&fake, &folder, &profile(&user));
        let got = auth.cache().token().await;
        let got = got.map_err(|error| chain(&error)).unwrap();
        assert_eq!(got.expose_secret(), id_token, "{user}");
    }
    let path = folder.path("config");
    let credentials = Credentials::kubeconfig().path(path).context("other");
    let auth = authenticate(&fake, &ManualClock::new(), TokenEndpoint::Auto, credentials);
    assert_eq!(
        auth.cache().token().await.unwrap().expose_secret(),
        "bobs-token"
    );
}

#[tokio::test]
async fn a_profile_without_a_token_says_what_it_has() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let folder = Scratch::new();
    for (user, says) in [
        (
            "    client-certificate-data: YQ==",
            "no token but a client certificate",
        ),
        (
            "    token: e30.eyJleHAiOjF9.c2ln",
            "expired on Thu, 01 Jan 1970",
        ),
        (
            "    exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-program, \
             installHint: get it}",
            "get it",
        ),
    ] {
        let error = with(&fake, &folder, &profile(user))
            .cache()
            .token()
            .await
            .unwrap_err();
        let text = chain(&error);
        assert!(
            text.contains(says) && text.contains("user \"ada\""),
            "{text}"
        );
    }
}

/// Two logins by OpenID Connect, of which `current` counts.
fn two(ada: (&RunaiFake, &str), bob: (&RunaiFake, &str), current: &str) -> String {
    let user = |(fake, refresh): (&RunaiFake, &str)| {
        format!(
            "{{auth-provider: {{name: oidc, config: {{client-id: cli, id-token: \
             e30.eyJleHAiOjF9.c2ln, idp-issuer-url: \"{}/auth/realms/runai\", refresh-token: {refresh}}}}}}}",
            fake.url()
        )
    };
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {current}\ncontexts:\n\
         - {{name: ada, context: {{cluster: c, user: ada}}}}\n- {{name: bob, context: {{cluster: c, user: bob}}}}\n\
         - {{name: eve, context: {{cluster: c, user: eve}}}}\n\
         users:\n- {{name: ada, user: {}}}\n- {{name: bob, user: {}}}\n- {{name: eve, user: {{token: eves-token}}}}\n",
        user(ada),
        user(bob)
    )
}

#[tokio::test]
async fn another_contexts_refresh_token_goes_to_no_other_issuer() {
    let ours = RunaiFake::builder().start().await.unwrap();
    let other = RunaiFake::builder().start().await.unwrap();
    let bobs = other.refresh_token_for("test-user");
    let folder = Scratch::new();
    let text = |current| two((&ours, "spent-already"), (&other, &bobs), current);
    let auth = with(&ours, &folder, &text("ada"));
    let gate = ours.hold_token();
    let cache = auth.cache().clone();
    let fetching = tokio::spawn(async move { cache.token().await });
    gate.reached().await;
    // `kubectl config use-context bob`
    folder.write("config", text("bob"));
    gate.release();
    fetching.await.unwrap().unwrap_err();
    for asked in ours.journal() {
        let body = String::from_utf8_lossy(&asked.body).into_owned();
        assert!(!body.contains(&bobs), "{}: {body}", asked.path);
    }
}

#[tokio::test]
async fn a_context_with_another_sort_of_login_is_tried_at_once() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let folder = Scratch::new();
    let text = |current| two((&fake, "spent-already"), (&fake, "r"), current);
    let auth = with(&fake, &folder, &text("ada"));
    assert!(
        auth.cache()
            .token()
            .await
            .unwrap_err()
            .is_invalid_credentials()
    );
    folder.write("config", text("eve"));
    wait_for("the other context's token", async || {
        auth.cache().token().await.is_ok()
    })
    .await;
}
