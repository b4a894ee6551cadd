//! What it answers when nothing is planned.

use std::time::Duration;

use http::{StatusCode, Version};
use runai_fake::{Kind, RunaiFake};
use serde_json::json;

use crate::support::{ask, client, fake, get, post, send, v1, v2};

const CLUSTERS: &str = "/api/v1/clusters";

#[tokio::test]
async fn v1_gives_a_token_that_the_api_takes_over_both_protocols() {
    for (tls, version) in [(false, Version::HTTP_11), (true, Version::HTTP_2)] {
        let builder = RunaiFake::builder()
            .application("ci-bot", "s3cr3t")
            .tls(tls);
        let fake = builder.start().await.unwrap();
        let http = client(fake.ca_pem());
        let answer = ask(&http, &fake).await.unwrap();
        assert_eq!((answer.status, answer.version), (StatusCode::OK, version));
        assert!(
            answer.json().get("expiresIn").is_none(),
            "it is told from 2.24 on only"
        );
        assert!(answer.headers.contains_key("date"));
        for path in [
            CLUSTERS,
            "/api/v1/org-unit/projects",
            "/api/v1/workloads",
            "/api/v1/authorization/me/access-rules",
        ] {
            let answer = get(&http, &fake, path, &answer.token()).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{path}");
        }
        if tls {
            let error = ask(&client(None), &fake).await.unwrap_err();
            assert!(error.contains("UnknownIssuer"), "{error}");
        }
    }
}

#[tokio::test]
async fn both_forms_of_the_client_grants_are_taken() {
    let (fake, http) = fake().await;
    for body in [
        json!({"grantType": "app_token", "AppId": "ci-bot", "AppSecret": "s3cr3t"}),
        json!({"grantType": "app_token", "appID": "ci-bot", "appSecret": "s3cr3t"}),
        json!({"grantType": "client_credentials", "clientId": "ci-bot", "clientSecret": "s3cr3t"}),
        json!({"grantType": "client_credentials", "clientID": "ci-bot", "clientSecret": "s3cr3t"}),
    ] {
        assert_eq!(
            v1(&http, &fake, &body).await.unwrap().status,
            StatusCode::OK,
            "{body}"
        );
    }
    let answer = v2(
        &http,
        &fake,
        "grant_type=client_credentials&client_id=ci-bot&client_secret=s3cr3t",
    )
    .await
    .unwrap();
    let body = answer.json();
    assert_eq!(
        (body["token_type"].as_str(), body["expires_in"].as_u64()),
        (Some("Bearer"), Some(3600))
    );
    assert_eq!(fake.issued().len(), 5);
}

#[tokio::test]
async fn what_is_wrong_with_a_token_request_is_told() {
    let (fake, http) = fake().await;
    for (body, status) in [
        (
            json!({"grantType": "app_token", "AppId": "ci-bot", "AppSecret": "wrong"}),
            401,
        ),
        (
            json!({"grantType": "app_token", "AppId": "nobody", "AppSecret": "s3cr3t"}),
            401,
        ),
        (json!({"grantType": "app_token", "AppId": "ci-bot"}), 400),
        (json!({"grantType": "magic"}), 400),
        (json!({}), 400),
        (json!([]), 400),
    ] {
        let answer = v1(&http, &fake, &body).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{body}");
        assert_eq!(answer.json()["code"], status, "{body}");
    }
    let url = format!("{}/api/v1/token", fake.url());
    let answer = send(&http, post(url, "text/plain", "{}")).await.unwrap();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    for (form, status, error) in [
        (
            "grant_type=client_credentials&client_id=ci-bot&client_secret=wrong",
            401,
            "invalid_client",
        ),
        ("grant_type=magic", 400, "unsupported_grant_type"),
        ("", 400, "invalid_request"),
    ] {
        let answer = v2(&http, &fake, form).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.json()["error"].as_str()),
            (status, Some(error))
        );
    }
    assert!(
        get(&http, &fake, "/api/v1/token", "x")
            .await
            .unwrap()
            .status
            == StatusCode::METHOD_NOT_ALLOWED
    );
    assert!(fake.issued().is_empty());
}

#[tokio::test]
async fn a_token_ends_by_time_by_revocation_and_with_its_key() {
    let (fake, http) = fake().await;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        tokens.push(ask(&http, &fake).await.unwrap().token());
    }
    let status = async |token: &str| {
        get(&http, &fake, CLUSTERS, token)
            .await
            .unwrap()
            .status
            .as_u16()
    };
    fake.revoke(1);
    assert_eq!(
        (status(&tokens[0]).await, status(&tokens[1]).await),
        (401, 200)
    );
    fake.advance_clock(Duration::from_secs(3600));
    assert_eq!(status(&tokens[1]).await, 401);
    fake.set_clock_offset(0);
    assert_eq!(status(&tokens[1]).await, 200);
    fake.rotate_signing_key();
    assert_eq!(status(&tokens[1]).await, 401);
    let answer = get(&http, &fake, CLUSTERS, "forged").await.unwrap();
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        answer.json(),
        json!({"code": 401, "message": "Issuer is not familiar."})
    );
}

#[tokio::test]
async fn secrets_and_access_rules_change_at_once() {
    let (fake, http) = fake().await;
    let token = ask(&http, &fake).await.unwrap().token();
    assert!(fake.drop_access_rule("ci-bot") && !fake.drop_access_rule("nobody"));
    let answer = get(&http, &fake, CLUSTERS, &token).await.unwrap();
    assert_eq!(
        answer.json(),
        json!({"code": 403, "message": "You do not have sufficient permissions."})
    );
    assert!(fake.restore_access_rule("ci-bot"));
    assert!(fake.rotate_secret("ci-bot", "new"));
    assert_eq!(
        get(&http, &fake, CLUSTERS, &token).await.unwrap().status,
        StatusCode::OK
    );
    assert_eq!(
        ask(&http, &fake).await.unwrap().status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_submission_tells_what_it_received() {
    let (fake, http) = fake().await;
    let token = ask(&http, &fake).await.unwrap().token();
    let mut request = post(
        format!("{}/api/v1/workloads/trainings", fake.url()),
        "application/json",
        r#"{"name":"a"}"#,
    );
    request
        .headers_mut()
        .insert("authorization", format!("Bearer {token}").parse().unwrap());
    let answer = send(&http, request).await.unwrap();
    assert_eq!(
        (answer.status, answer.json()["name"].as_str()),
        (StatusCode::ACCEPTED, Some("a"))
    );
    assert_eq!(answer.headers["x-received-bytes"], "12");
    // `printf '{"name":"a"}' | sha256sum`
    let sha256 = "d9d719b27480b55cd4918020e7473e716ed3569c8adafe926cf9b10b4f8ef064";
    assert_eq!(answer.headers["x-received-sha256"], sha256);
}

#[tokio::test]
async fn unknown_paths_are_404_in_the_api_and_the_ui_elsewhere() {
    let (fake, http) = fake().await;
    let token = ask(&http, &fake).await.unwrap().token();
    assert_eq!(
        get(&http, &fake, "/api/v1/nothing", &token)
            .await
            .unwrap()
            .status,
        StatusCode::NOT_FOUND
    );
    let answer = get(&http, &fake, "/projects", &token).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        answer.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
}

#[tokio::test]
async fn the_journal_tells_who_asked_for_what() {
    let (fake, http) = fake().await;
    let token = ask(&http, &fake).await.unwrap().token();
    get(&http, &fake, "/api/v1/clusters?verbosity=full", &token)
        .await
        .unwrap();
    let journal = fake.journal();
    let [asked, called] = &journal[..] else {
        panic!("{journal:?}");
    };
    assert_eq!(
        (asked.kind, asked.method.as_str(), asked.path.as_str()),
        (Kind::Token, "POST", "/api/v1/token")
    );
    assert!(asked.body_complete && asked.body.starts_with(b"{"));
    assert_eq!(
        (called.kind, called.query.as_deref()),
        (Kind::Api, Some("verbosity=full"))
    );
    assert_eq!(called.bearer(), Some(token.as_str()));
    for exchange in &journal {
        assert_eq!(
            (
                exchange.generation,
                exchange.client.as_deref(),
                exchange.status
            ),
            (Some(1), Some("ci-bot"), Some(200))
        );
    }
    assert!(asked.at <= called.at && asked.connection == called.connection);
    fake.clear_journal();
    assert!(fake.journal().is_empty());
}
