//! Keycloak's endpoints: its token endpoint, its discovery document, its login page.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::digest;
use runai_fake::{Kind, RunaiFake};
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client, ID, SECRET, start},
    people::{CALLBACK, PASSWORD, USER, form, text, with_people},
};

pub(crate) const TOKEN: &str = "/auth/realms/runai/protocol/openid-connect/token";
pub(crate) const CONFIGURATION: &str = "/auth/realms/runai/.well-known/openid-configuration";
const LOGIN: &str = "/auth/realms/runai/protocol/openid-connect/auth";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters";

async fn ask(client: &Client, fields: &[(&str, &str)]) -> Answer {
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

fn error(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["error"], error, "{answer:?}");
}

fn s256(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

async fn log_in(client: &Client, query: &[(&str, &str)]) -> Answer {
    client.get(&format!("{LOGIN}?{}", form(query)), "").await
}

/// The code of a login for `cli`.
async fn code(client: &Client, challenge: &[(&str, &str)]) -> String {
    let mut query = vec![
        ("response_type", "code"),
        ("client_id", "cli"),
        ("redirect_uri", CALLBACK),
        ("state", "a&b=c"),
        ("scope", "openid"),
    ];
    query.extend_from_slice(challenge);
    let answer = log_in(client, &query).await;
    assert_eq!(answer.status, 302, "{answer:?}");
    let location = answer.header("location");
    let (target, query) = location.split_once('?').expect("it has a query");
    assert_eq!(target, CALLBACK);
    let mut query: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    query.sort();
    assert_eq!(query[1], ("state".into(), "a&b=c".into()));
    assert_eq!((query.len(), query[0].0.as_ref()), (2, "code"));
    query[0].1.clone().into_owned()
}

fn redemption<'a>(code: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("client_id", "cli"),
    ]
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
    // Both ways at once are one too many, as are two names.
    for second in [("client_secret", SECRET), ("client_id", "another")] {
        let fields = [by_header[0], second];
        let answer = post(&client, TOKEN, &right, &fields).await;
        error(&answer, 400, "invalid_request");
    }
    error(&ask(&client, &by_header).await, 400, "invalid_request");
    assert_eq!(fake.issued().len(), 2);
}

#[tokio::test]
async fn people_log_in_and_refresh() {
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
    let (token, spent) = (
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
    let answer = ask(&client, &refresh(&spent)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let next = text(&answer, "refresh_token");
    let second = text(&answer, "access_token");
    assert!(fake.refresh_token_is_live(&next));
    error(&ask(&client, &refresh(&spent)).await, 400, "invalid_grant");
    assert!(!fake.refresh_token_is_live(&next));
    for token in [&token, &second] {
        assert_eq!(client.clusters(token).await, 401);
    }
}

/// As clients do that read a kubeconfig without a client secret.
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

#[tokio::test]
async fn the_login_page_gives_a_code() {
    let (fake, client) = with_people().await;
    let code = code(&client, &[]).await;
    let fields = redemption(&code);
    let answer = ask(&client, &fields).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        client.clusters(&text(&answer.json(), "id_token")).await,
        200
    );
    assert!(fake.refresh_token_is_live(&text(&answer.json(), "refresh_token")));
    // The first user has been logged in.
    assert_eq!(fake.issued()[0].client, USER);
    error(&ask(&client, &fields).await, 400, "invalid_grant");

    for (place, other) in [(2, "http://127.0.0.1:9/other"), (3, "ui")] {
        let code = fake.authorization_code(USER, "cli", CALLBACK);
        let mut fields = redemption(&code);
        fields[place].1 = other;
        error(&ask(&client, &fields).await, 400, "invalid_grant");
    }
}

#[tokio::test]
async fn the_login_page_keeps_a_query() {
    let (_fake, client) = with_people().await;
    let query = [
        ("response_type", "code"),
        ("client_id", "cli"),
        ("redirect_uri", "http://127.0.0.1:9/callback?a=b"),
        ("state", "s"),
    ];
    let answer = log_in(&client, &query).await;
    assert_eq!(
        answer.header("location"),
        "http://127.0.0.1:9/callback?a=b&state=s&code=code-1"
    );
}

#[tokio::test]
async fn the_login_page_wants_all_parameters() {
    let (_fake, client) = with_people().await;
    let whole = [
        ("response_type", "code"),
        ("client_id", "cli"),
        ("redirect_uri", CALLBACK),
        ("state", "s"),
    ];
    for (place, (name, _)) in whole.iter().enumerate() {
        let mut part = whole.to_vec();
        part.remove(place);
        let answer = log_in(&client, &part).await;
        assert_eq!(answer.status, 400, "{name}");
        assert_eq!(answer.body, format!("Missing parameter: {name}"));
    }
    let challenge = s256(VERIFIER);
    for (name, extra) in [
        ("response_type", &[("response_type", "token")][..]),
        ("redirect_uri", &[("redirect_uri", "/callback")]),
        ("redirect_uri", &[("redirect_uri", "http://a/#b")]),
        ("code_challenge_method", &[("code_challenge", &challenge)]),
        (
            "code_challenge_method",
            &[
                ("code_challenge", &challenge),
                ("code_challenge_method", "plain"),
            ],
        ),
    ] {
        let mut query: Vec<_> = whole.to_vec();
        query.retain(|(name, _)| extra.iter().all(|(other, _)| other != name));
        query.extend_from_slice(extra);
        let answer = log_in(&client, &query).await;
        assert_eq!(answer.status, 400, "{extra:?}");
        assert_eq!(answer.body, format!("Invalid parameter: {name}"));
    }
    let sent = client.send("POST", LOGIN, &[], "").await;
    assert_eq!(sent.expect("an answer comes").status, 405);
}

#[tokio::test]
async fn a_challenge_wants_its_verifier() {
    let (_fake, client) = with_people().await;
    let challenge = s256(VERIFIER);
    let challenge = [
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    let v2 = |fields: Vec<(&str, &str)>| form(&fields);
    for (verifier, status) in [(Some(VERIFIER), 200), (Some("another"), 400), (None, 400)] {
        for at_v2 in [false, true] {
            let code = code(&client, &challenge).await;
            let mut fields = redemption(&code);
            fields.extend(verifier.map(|it| ("code_verifier", it)));
            let answer = match at_v2 {
                true => client.v2(&v2(fields)).await,
                false => ask(&client, &fields).await,
            };
            assert_eq!(answer.status, status, "{verifier:?} {answer:?}");
            if status == 400 {
                error(&answer, 400, "invalid_grant");
            }
        }
    }
    // The challenge itself is no verifier, and v1 has none.
    let code_1 = code(&client, &challenge).await;
    let mut fields = redemption(&code_1);
    fields.push(("code_verifier", challenge[0].1));
    error(&ask(&client, &fields).await, 400, "invalid_grant");
    let code_2 = code(&client, &challenge).await;
    let v1 = json!({"grantType": "exchange_token", "code": code_2, "clientID": "cli", "redirectUri": CALLBACK});
    assert_eq!(client.v1(&v1).await.status, 401);
    // Where none was asked for it says nothing.
    let code_3 = code(&client, &[]).await;
    let mut fields = redemption(&code_3);
    fields.push(("code_verifier", "whatever"));
    assert_eq!(ask(&client, &fields).await.status, 200);
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

    // It goes by the name that it was asked by.
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
    // What is no page of Keycloak's that is known here is the UI's, as before.
    let answer = client.get("/auth/realms/runai/account", "").await;
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
}

#[tokio::test]
async fn the_token_endpoint_refuses_what_is_no_request() {
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
