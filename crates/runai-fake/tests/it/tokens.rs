//! Tokens: how clients get them, what they contain, and how long they are valid.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Version;
use runai_fake::{Behaviour, RunaiFake, TokenShape};
use serde_json::{Value, json};

use crate::client::{Client, ID, SECRET, start};

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("a JWT has three parts");
    let bytes = URL_SAFE_NO_PAD.decode(part).expect("it is base64url");
    serde_json::from_slice(&bytes).expect("it is JSON")
}

#[tokio::test]
async fn v1_takes_both_grants_in_either_case() {
    let fake = start().await;
    let client = Client::new(&fake);
    for (grant, id, secret) in [
        ("app_token", "AppId", "AppSecret"),
        ("app_token", "appID", "appSecret"),
        ("client_credentials", "clientId", "clientSecret"),
        ("client_credentials", "clientID", "clientSecret"),
    ] {
        let answer = client
            .v1(&json!({"grantType": grant, id: ID, secret: SECRET}))
            .await;
        assert_eq!(answer.status, 200, "{grant} {id}: {answer:?}");
        let answer = answer.json();
        assert!(answer.get("expiresIn").is_none(), "{answer}");
        let token = answer["accessToken"].as_str().expect("a text");
        let claims = claims(token);
        assert_eq!(claims["sub"], ID);
        let lifetime = claims["exp"].as_i64().zip(claims["iat"].as_i64());
        assert_eq!(lifetime.map(|(exp, iat)| exp - iat), Some(3600));
        assert_eq!(client.clusters(token).await, 200);
    }
    assert_eq!(fake.issued().len(), 4);
}

#[tokio::test]
async fn v1_sends_expires_in_where_configured() {
    let fake = RunaiFake::builder()
        .expires_in(true)
        .token_lifetime(Duration::from_secs(90))
        .start()
        .await
        .expect("a port is free");
    let client = Client::new(&fake);
    // The application is the default one.
    let answer = client
        .v1(&json!({"grantType": "app_token", "AppId": "test-app", "AppSecret": "test-secret"}))
        .await;
    assert_eq!(answer.json()["expiresIn"], 90);
}

#[tokio::test]
async fn v1_rejects_invalid_token_requests() {
    let fake = start().await;
    let client = Client::new(&fake);
    let right = json!({"grantType": "app_token", "AppId": ID, "AppSecret": SECRET});
    let json = [("content-type", "application/json")];
    for (headers, body, message) in [
        (
            &json[..],
            "{".to_owned(),
            "The body is not the JSON of a token request",
        ),
        (
            &json[..],
            "[]".to_owned(),
            "The body is not the JSON of a token request",
        ),
        (
            &json[..],
            "{}".to_owned(),
            "Required parameter is missing: grantType",
        ),
        (
            &json[..],
            json!({"grantType": "magic", "username": "a"}).to_string(),
            "The grant type is not supported",
        ),
        (
            &json[..],
            json!({"grantType": "app_token", "AppId": ID}).to_string(),
            "Required parameter is missing",
        ),
        (&[], right.to_string(), "The body must be application/json"),
    ] {
        let answer = client
            .send("POST", "/api/v1/token", headers, body.clone())
            .await
            .expect("an answer comes");
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json(), json!({"code": 400, "message": message}));
    }
    let answer = client.ask("wrong").await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.json()["code"], 401);
    let answer = client.get("/api/v1/token", "").await;
    assert_eq!(answer.status, 405);
    assert!(fake.issued().is_empty());
}

#[tokio::test]
async fn v2_speaks_oauth() {
    let fake = start().await;
    let client = Client::new(&fake);
    let secret: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let right = format!("grant_type=client_credentials&client_id={ID}&client_secret={secret}");
    let answer = client.v2(&right).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["expires_in"], 3600);
    let token = answer["access_token"].as_str().expect("a text");
    assert_eq!(client.clusters(token).await, 200);

    for (form, status, error) in [
        ("", 400, "invalid_request"),
        ("grant_type=magic", 400, "unsupported_grant_type"),
        ("grant_type=client_credentials", 400, "invalid_request"),
        (
            "grant_type=client_credentials&client_id=ci-bot&client_secret=wrong",
            401,
            "invalid_client",
        ),
    ] {
        let answer = client.v2(form).await;
        assert_eq!(answer.status, status, "{form}");
        assert_eq!(answer.json()["error"], error, "{form}");
    }
    let json = [("content-type", "application/json")];
    let answer = client.send("POST", "/api/v2/token", &json, right).await;
    assert_eq!(answer.expect("an answer comes").status, 400);
}

#[tokio::test]
async fn the_api_verifies_the_bearer() {
    let fake = start().await;
    let client = Client::new(&fake);
    let unfamiliar = json!({"code": 401, "message": "Issuer is not familiar."});
    for bearer in ["", "nonsense", "a.b.c"] {
        let answer = client.get("/api/v1/clusters", bearer).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.json(), unfamiliar);
        assert!(!answer.headers.contains_key("www-authenticate"));
    }
    let missing = client.send("GET", "/api/v1/clusters", &[], "").await;
    assert_eq!(missing.expect("an answer comes").status, 401);

    // A part of another token does not help: the signature covers both.
    let (one, other) = (client.token().await, client.token().await);
    let (head, signature) = one.rsplit_once('.').expect("a JWT");
    let (_, other_signature) = other.rsplit_once('.').expect("a JWT");
    assert_ne!(signature, other_signature);
    assert_eq!(
        client.clusters(&format!("{head}.{other_signature}")).await,
        401
    );
    assert_eq!(client.clusters(&one).await, 200);
}

#[tokio::test]
async fn revocation_takes_one_token_or_all() {
    let fake = start().await;
    let client = Client::new(&fake);
    let (one, two) = (client.token().await, client.token().await);
    fake.revoke(1);
    assert_eq!(client.clusters(&one).await, 401);
    assert_eq!(client.clusters(&two).await, 200);
    fake.revoke_all();
    assert_eq!(client.clusters(&two).await, 401);
    assert_eq!(client.clusters(&client.token().await).await, 200);
}

#[tokio::test]
async fn a_new_secret_is_the_only_one_and_tokens_stay() {
    let fake = start().await;
    let client = Client::new(&fake);
    let token = client.token().await;
    assert!(fake.rotate_secret(ID, "new"));
    assert_eq!(client.ask(SECRET).await.status, 401);
    assert_eq!(client.ask("new").await.status, 200);
    assert_eq!(client.clusters(&token).await, 200);
    assert!(!fake.rotate_secret("nobody", "new"));
}

#[tokio::test]
async fn a_new_signing_key_ends_older_tokens() {
    let fake = start().await;
    let client = Client::new(&fake);
    let old = client.token().await;
    fake.rotate_signing_key();
    assert_eq!(client.clusters(&old).await, 401);
    assert_eq!(client.clusters(&client.token().await).await, 200);
}

#[tokio::test]
async fn without_an_access_rule_it_is_403() {
    let fake = start().await;
    let client = Client::new(&fake);
    let token = client.token().await;
    assert!(fake.drop_access_rule(ID));
    let answer = client.get("/api/v1/clusters", &token).await;
    assert_eq!(answer.status, 403);
    let documented = json!({"code": 403, "message": "You do not have sufficient permissions."});
    assert_eq!(answer.json(), documented);
    assert!(fake.restore_access_rule(ID));
    assert_eq!(client.clusters(&token).await, 200);
}

#[tokio::test]
async fn the_clock_is_the_fakes_own() {
    let fake = start().await;
    let client = Client::new(&fake);
    fake.set_token_lifetime(Duration::from_secs(60));
    fake.set_clock_offset(-1_000_000);
    let token = client.token().await;
    let iat = claims(&token)["iat"].as_i64().expect("a number");
    assert_eq!(client.clusters(&token).await, 200);
    fake.advance_clock(Duration::from_secs(61));
    let answer = client.get("/api/v1/clusters", &token).await;
    assert_eq!(answer.status, 401);
    let date = httpdate::parse_http_date(answer.header("date")).expect("a date");
    let date = date
        .duration_since(std::time::UNIX_EPOCH)
        .expect("it is after 1970");
    let passed = i64::try_from(date.as_secs()).expect("it fits") - iat;
    assert!((61..81).contains(&passed), "{passed} s");
}

#[tokio::test]
async fn a_clock_may_be_absurdly_wrong() {
    let fake = start().await;
    let client = Client::new(&fake);
    for offset in [i64::MIN, i64::MAX] {
        fake.set_clock_offset(offset);
        assert_eq!(client.ask(SECRET).await.status, 200, "{offset}");
        fake.on_token(Behaviour::token(TokenShape::Expired));
        assert_eq!(client.ask(SECRET).await.status, 200, "{offset}");
    }
}

#[tokio::test]
async fn tokens_come_in_every_shape() {
    let fake = start().await;
    let client = Client::new(&fake);
    let token = async |shape| {
        fake.on_token(Behaviour::token(shape));
        client.ask(SECRET).await.json()
    };
    let text = |answer: &Value| answer["accessToken"].as_str().expect("a text").to_owned();

    let short = text(&token(TokenShape::Lifetime(5)).await);
    let claims_of = claims(&short);
    let lifetime = claims_of["exp"].as_i64().zip(claims_of["iat"].as_i64());
    assert_eq!(lifetime.map(|(exp, iat)| exp - iat), Some(5));
    assert_eq!(text(&token(TokenShape::Same).await), short);
    assert_eq!(client.clusters(&short).await, 200);

    let expired = text(&token(TokenShape::Expired).await);
    assert_eq!(client.clusters(&expired).await, 401);

    let endless = text(&token(TokenShape::NoExp).await);
    assert!(claims(&endless).get("exp").is_none());
    assert_eq!(client.clusters(&endless).await, 200);

    let opaque = text(&token(TokenShape::Opaque).await);
    assert!(!opaque.contains('.'));
    assert_eq!(client.clusters(&opaque).await, 200);

    let answer = token(TokenShape::ExpiresIn(json!("soon"))).await;
    assert_eq!(answer["expiresIn"], "soon");
    let answer = token(TokenShape::TokenType("mac".into())).await;
    assert_eq!(answer["tokenType"], "mac");
}

/// A raw token is known by its text, whatever it looks like.
#[tokio::test]
async fn a_raw_token_is_good_even_if_it_has_two_dots() {
    let fake = start().await;
    let client = Client::new(&fake);
    for raw in ["plain", "a.b.c"] {
        fake.on_token(Behaviour::token(TokenShape::Raw(raw.into())));
        assert_eq!(client.token().await, raw);
        assert_eq!(client.clusters(raw).await, 200, "{raw}");
    }
    fake.advance_clock(Duration::from_secs(3601));
    assert_eq!(client.clusters("plain").await, 401);
}

/// Issuing the same text twice must not use up a generation that the next token gets as well.
#[tokio::test]
async fn generations_are_never_shared() {
    let fake = start().await;
    let client = Client::new(&fake);
    for _ in 0..2 {
        fake.on_token(Behaviour::token(TokenShape::Raw("plain".into())));
        client.token().await;
    }
    let fresh = client.token().await;
    client.clusters("plain").await;
    client.clusters(&fresh).await;
    let generations: Vec<_> = fake.journal().iter().map(|it| it.generation).collect();
    let expected = [1, 1, 2, 1, 2].map(Some);
    assert_eq!(generations, expected);
}

#[tokio::test]
async fn it_answers_the_documented_calls() {
    let fake = start().await;
    let client = Client::new(&fake);
    let token = client.token().await;
    let clusters = client.get("/api/v1/clusters", &token).await.json();
    assert!(clusters[0]["uuid"].is_string(), "{clusters}");
    let projects = client.get("/api/v1/org-unit/projects", &token).await.json();
    assert!(projects["projects"][0]["id"].is_string(), "{projects}");
    let rules = client
        .get("/api/v1/authorization/me/access-rules", &token)
        .await
        .json();
    assert_eq!(rules["accessRules"]["accessRules"][0]["subjectId"], ID);
    let answer = client.get("/api/v1/workloads", &token).await;
    assert_eq!(answer.status, 200);
    let answer = client.get("/api/v1/no-such-thing", &token).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["code"], 404);
    let answer = client.get("/elsewhere", "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");

    let bearer = format!("Bearer {token}");
    for path in ["workspaces", "trainings", "distributed", "inferences"] {
        let answer = client
            .send(
                "POST",
                &format!("/api/v1/workloads/{path}"),
                &[("authorization", &bearer)],
                r#"{"name":"train"}"#,
            )
            .await
            .expect("an answer comes");
        assert_eq!(answer.status, 202);
        assert_eq!(answer.json()["name"], "train");
        assert!(answer.json()["workloadId"].is_string());
        assert_eq!(answer.header("x-received-bytes"), "16");
        assert_eq!(
            answer.header("x-received-sha256"),
            "b7b43ba675e13d447b08e1d399c987df34ed5795e9a63609a570966955f09467"
        );
    }
}

#[tokio::test]
async fn it_speaks_both_versions_with_and_without_tls() {
    let plain = start().await;
    let tls = RunaiFake::builder()
        .application(ID, SECRET)
        .tls(true)
        .start()
        .await;
    let tls = tls.expect("a port is free");
    assert!(plain.ca_pem().is_none());
    assert!(plain.url().starts_with("http://127.0.0.1:"));
    assert!(tls.url().starts_with("https://localhost:"));
    for (client, version) in [
        (Client::new(&plain), Version::HTTP_11),
        (Client::h2(&plain), Version::HTTP_2),
        (Client::h2(&tls), Version::HTTP_2),
        // It offers both, and the server prefers h2.
        (Client::new(&tls), Version::HTTP_2),
    ] {
        let answer = client.ask(SECRET).await;
        assert_eq!((answer.status.as_u16(), answer.version), (200, version));
        assert!(answer.headers.contains_key("date"));
    }
    assert_eq!(plain.journal()[1].version, Version::HTTP_2);

    // A client that does not trust the CA cannot connect.
    let stranger = Client::new(&start().await);
    let url = tls.url().to_owned();
    let refused = stranger.at(url).send("GET", "/", &[], "").await;
    assert!(refused.expect_err("the CA is unknown").is_connect());
}

#[tokio::test]
async fn a_server_beside_it_can_ask_which_tokens_are_taken() {
    let fake = start().await;
    let client = Client::new(&fake);
    let answer = client
        .v1(&json!({"grantType": "app_token", "AppId": ID, "AppSecret": SECRET}))
        .await;
    let token = answer.json()["accessToken"].as_str().unwrap().to_owned();
    assert!(fake.accepts(&token));
    assert!(!fake.accepts("another"));
    assert!(fake.drop_access_rule(ID));
    assert!(fake.accepts(&token), "403 is not 401");
    fake.revoke_all();
    assert!(!fake.accepts(&token));
}
