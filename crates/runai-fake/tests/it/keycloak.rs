//! Keycloak's token endpoint and its discovery document.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use runai_fake::{Kind, RunaiFake};
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client, ID, SECRET, start},
    login::{code, redemption},
    people::{PASSWORD, USER, form, text, with_people},
};

pub(crate) const TOKEN: &str = "/auth/realms/runai/protocol/openid-connect/token";
pub(crate) const CONFIGURATION: &str = "/auth/realms/runai/.well-known/openid-configuration";
pub(crate) const LOGIN: &str = "/auth/realms/runai/protocol/openid-connect/auth";

pub(crate) async fn ask(client: &Client, fields: &[(&str, &str)]) -> Answer {
    post(client, TOKEN, &[], fields).await
}

async fn post(
    client: &Client,
    path: &str,
    headers: &[(&str, &str)],
    fields: &[(&str, &str)],
) -> Answer {
    let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
    all.extend_from_slice(headers);
    let sent = client.send("POST", path, &all, form(fields));
    sent.await.expect("an answer comes")
}

pub(crate) fn error(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["error"], error, "{answer:?}");
}

#[tokio::test]
async fn an_application_authenticates_in_either_way() {
    let (fake, client) = with_people().await;
    let by_body = [
        ("grant_type", "client_credentials"),
        ("scope", "openid"),
        ("client_id", ID),
        ("client_secret", SECRET),
    ];
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let basic = |secret: &str| {
        let pair = format!("{}:{}", encoded(ID), encoded(secret));
        format!("Basic {}", STANDARD.encode(pair))
    };
    let by_header = [("grant_type", "client_credentials")];
    let right = basic(SECRET);
    let right = [("authorization", right.as_str())];
    for (headers, fields, scope) in [
        (&[][..], &by_body[..], "openid"),
        (&right[..], &by_header[..], "openid email profile"),
    ] {
        let answer = post(&client, TOKEN, headers, fields).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("cache-control"), "no-store");
        let answer = answer.json();
        let token = text(&answer, "access_token");
        let rest = json!({
            "access_token": token,
            "id_token": token,
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_expires_in": 0,
            "scope": scope,
        });
        assert_eq!(answer, rest);
        assert_eq!(client.clusters(&token).await, 200);
    }

    let wrong = basic("wrong");
    let answer = post(&client, TOKEN, &[("authorization", &wrong)], &by_header).await;
    error(&answer, 401, "unauthorized_client");
    let mut unknown = by_body;
    unknown[2].1 = "nobody";
    error(&ask(&client, &unknown).await, 401, "invalid_client");
    for bad in ["Basic", "Basic ???", "Basic YWI=", "Bearer YTpi"] {
        let answer = post(&client, TOKEN, &[("authorization", bad)], &by_header).await;
        error(&answer, 401, "invalid_client");
    }
    // A client must not use both ways, nor two names.
    for second in [("client_secret", SECRET), ("client_id", "another")] {
        let fields = [by_header[0], second];
        let answer = post(&client, TOKEN, &right, &fields).await;
        error(&answer, 400, "invalid_request");
    }
    error(&ask(&client, &by_header).await, 400, "invalid_request");
    assert_eq!(fake.issued().len(), 2);
}

#[tokio::test]
async fn users_log_in_and_refresh() {
    let (fake, client) = with_people().await;
    let mut fields = [
        ("grant_type", "password"),
        ("username", USER),
        ("password", PASSWORD),
        ("client_id", "cli"),
    ];
    let answer = ask(&client, &fields).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let (token, used) = (
        text(&answer, "access_token"),
        text(&answer, "refresh_token"),
    );
    assert_eq!(answer["id_token"], token.as_str());
    assert_eq!(answer["refresh_expires_in"], 30 * 24 * 3600);
    assert_eq!(client.clusters(&token).await, 200);
    fields[2].1 = "wrong";
    error(&ask(&client, &fields).await, 401, "invalid_grant");

    let refresh = |token| {
        [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", "cli"),
        ]
    };
    let answer = ask(&client, &refresh(&used)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let next = text(&answer, "refresh_token");
    let second = text(&answer, "access_token");
    assert!(fake.refresh_token_is_live(&next));
    error(&ask(&client, &refresh(&used)).await, 400, "invalid_grant");
    assert!(!fake.refresh_token_is_live(&next));
    for token in [&token, &second] {
        assert_eq!(client.clusters(token).await, 401);
    }
}

/// Clients that read a kubeconfig without a client secret send an empty one.
#[tokio::test]
async fn an_empty_secret_is_none() {
    let (fake, client) = with_people().await;
    let token = fake.refresh_token_for(USER);
    let header = format!("Basic {}", STANDARD.encode("cli:"));
    let fields = [("grant_type", "refresh_token"), ("refresh_token", &token)];
    let answer = post(&client, TOKEN, &[("authorization", &header)], &fields).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let wrong = format!("Basic {}", STANDARD.encode(format!("{ID}:wrong")));
    let answer = post(&client, TOKEN, &[("authorization", &wrong)], &fields).await;
    error(&answer, 401, "unauthorized_client");
}

async fn discovered(client: &Client, headers: &[(&str, &str)]) -> Value {
    let answer = client.send("GET", CONFIGURATION, headers, "").await;
    let answer = answer.expect("an answer comes");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn discovery_names_what_is_there() {
    let fake = start().await;
    let document = discovered(&Client::new(&fake), &[]).await;
    let base = fake.url();
    assert_eq!(document["issuer"], format!("{base}/auth/realms/runai"));
    assert_eq!(document["token_endpoint"], format!("{base}{TOKEN}"));
    assert_eq!(document["authorization_endpoint"], format!("{base}{LOGIN}"));
    assert_eq!(
        document["code_challenge_methods_supported"],
        json!(["S256"])
    );
    let grants = json!([
        "authorization_code",
        "client_credentials",
        "password",
        "refresh_token"
    ]);
    assert_eq!(document["grant_types_supported"], grants);

    // The document's URLs have the host of the request.
    let document = discovered(&Client::new(&fake), &[("host", "fake.example:81")]).await;
    let issuer = "http://fake.example:81/auth/realms/runai";
    assert_eq!(document["issuer"], issuer);

    fake.set_discovered_token_endpoint(Some("https://elsewhere.example/token".into()));
    let document = discovered(&Client::new(&fake), &[]).await;
    assert_eq!(
        document["token_endpoint"],
        "https://elsewhere.example/token"
    );
    assert_eq!(document["issuer"], format!("{base}/auth/realms/runai"));
    fake.set_discovered_token_endpoint(None);
    let document = discovered(&Client::h2(&fake), &[]).await;
    assert_eq!(document["token_endpoint"], format!("{base}{TOKEN}"));
}

#[tokio::test]
async fn discovery_speaks_of_tls() {
    let fake = RunaiFake::builder().tls(true).start();
    let fake = fake.await.expect("a port is free");
    let document = discovered(&Client::new(&fake), &[]).await;
    assert!(fake.url().starts_with("https://"));
    assert_eq!(document["token_endpoint"], format!("{}{TOKEN}", fake.url()));
}

#[tokio::test]
async fn another_realm_does_not_exist() {
    let fake = RunaiFake::builder().realm("acme").start();
    let fake = fake.await.expect("a port is free");
    let client = Client::new(&fake);
    let none = json!({"error": "Realm does not exist"});
    for path in [CONFIGURATION, LOGIN] {
        let answer = client.get(path, "").await;
        assert_eq!((answer.status.as_u16(), answer.json()), (404, none.clone()));
    }
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", "test-app"),
        ("client_secret", "test-secret"),
    ];
    let answer = ask(&client, &fields).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (404, none));
    let acme = TOKEN.replace("runai", "acme");
    assert_eq!(post(&client, &acme, &[], &fields).await.status, 200);
    let document = client
        .get(&CONFIGURATION.replace("runai", "acme"), "")
        .await;
    let issuer = format!("{}/auth/realms/acme", fake.url());
    assert_eq!(document.json()["issuer"], issuer);
    // The UI answers an unknown page of Keycloak's.
    let answer = client.get("/auth/realms/runai/account", "").await;
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
}

#[tokio::test]
async fn the_token_endpoint_rejects_invalid_requests() {
    let (_fake, client) = with_people().await;
    error(&ask(&client, &[]).await, 400, "invalid_request");
    let magic = [("grant_type", "magic")];
    error(&ask(&client, &magic).await, 400, "unsupported_grant_type");
    let json = [("content-type", "application/json")];
    let answer = client.send("POST", TOKEN, &json, "{}").await;
    error(&answer.expect("an answer comes"), 400, "invalid_request");
    assert_eq!(client.get(TOKEN, "").await.status, 405);
}

/// Only what asks for a token is a token request.
#[tokio::test]
async fn the_pages_are_discovery() {
    let (fake, client) = with_people().await;
    discovered(&client, &[]).await;
    let code = code(&client, &[]).await;
    ask(&client, &redemption(&code)).await;
    let kinds: Vec<_> = fake.journal().iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [Kind::Discovery, Kind::Discovery, Kind::Token]);
    assert_eq!((fake.token_requests(), fake.api_requests()), (1, 0));
    assert_eq!(fake.journal()[2].client.as_deref(), Some(USER));
}
