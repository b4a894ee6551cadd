//! The control interface, and the program.

use std::process::Stdio;

use http::{Request, StatusCode};
use http_body_util::Full;
use runai_fake::{RunaiFake, control};
use serde_json::{Value, json};

use crate::support::{Answer, Http, ask, client, fake, get, send};

async fn controlled() -> (RunaiFake, Http, String) {
    let (fake, http) = fake().await;
    let (addr, serving) = control::listen(fake.clone(), 0).await.unwrap();
    tokio::spawn(serving);
    (fake, http, format!("http://{addr}"))
}

async fn call(http: &Http, method: &str, url: String, body: &Value) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(url)
        .body(Full::from(body.to_string()))
        .unwrap();
    send(http, request).await.unwrap()
}

#[tokio::test]
async fn each_call_does_what_the_readme_says() {
    let (fake, http, url) = controlled().await;
    let control = async |method: &str, path: &str, body: Value| {
        let answer = call(&http, method, format!("{url}{path}"), &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        answer.json()
    };
    let asked = async || ask(&http, &fake).await.unwrap();
    let used = async |token: &str| {
        get(&http, &fake, "/api/v1/clusters", token)
            .await
            .unwrap()
            .status
            .as_u16()
    };

    control(
        "POST",
        "/token/behaviours",
        json!([{"status": 503}, {"token": {"lifetime": 2}}]),
    )
    .await;
    assert_eq!(asked().await.status.as_u16(), 503);
    let short = asked().await.token();
    assert_eq!(used(&short).await, 200);
    control("POST", "/clock", json!({"advance_seconds": 2})).await;
    assert_eq!(used(&short).await, 401);
    control("POST", "/clock", json!({"offset_seconds": 0})).await;
    assert_eq!(used(&short).await, 200);
    control("POST", "/revoke", json!({"generation": 1})).await;
    assert_eq!(used(&short).await, 401);

    let token = asked().await.token();
    control("PUT", "/api/always", json!({"status": 502})).await;
    control("POST", "/api/behaviours", json!([{"status": 500}])).await;
    assert_eq!((used(&token).await, used(&token).await), (500, 502));
    control("PUT", "/api/always", Value::Null).await;
    control("PUT", "/token/always", json!({"status": 418})).await;
    assert_eq!(asked().await.status.as_u16(), 418);
    control("PUT", "/token/always", Value::Null).await;
    control(
        "POST",
        "/access-rule",
        json!({"application": "ci-bot", "granted": false}),
    )
    .await;
    assert_eq!(used(&token).await, 403);
    control(
        "POST",
        "/access-rule",
        json!({"application": "ci-bot", "granted": true}),
    )
    .await;
    control("POST", "/rotate-signing-key", Value::Null).await;
    assert_eq!(used(&token).await, 401);
    control("POST", "/token-lifetime", json!({"seconds": 9})).await;
    asked().await;
    control("POST", "/revoke", json!({})).await;
    let issued = control("GET", "/issued", Value::Null).await;
    assert_eq!(issued.as_array().unwrap().len(), 3);
    assert!(
        issued
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["revoked"] == true)
    );
    control(
        "POST",
        "/rotate-secret",
        json!({"application": "ci-bot", "secret": "new"}),
    )
    .await;
    assert_eq!(asked().await.status.as_u16(), 401);

    let status = control("GET", "/status", Value::Null).await;
    assert_eq!(
        (status["url"].as_str(), status["token_requests"].as_u64()),
        (Some(fake.url()), Some(6))
    );
    let journal = control("GET", "/journal", Value::Null).await;
    assert_eq!(
        (journal[0]["kind"].as_str(), journal[0]["status"].as_u64()),
        (Some("token"), Some(503))
    );
    assert!(journal[0]["body"].as_str().unwrap().contains("app_token"));
    control("DELETE", "/journal", Value::Null).await;
    assert_eq!(control("GET", "/journal", Value::Null).await, json!([]));
}

#[tokio::test]
async fn a_wrong_call_is_told_what_is_wrong() {
    let (_fake, http, url) = controlled().await;
    for (path, body, status, says) in [
        ("/nothing", json!({}), 404, "there is no POST /nothing"),
        (
            "/token/behaviours",
            json!([{"statsu": 503}]),
            400,
            "unknown field `statsu`",
        ),
        (
            "/rotate-secret",
            json!({"application": "ci-bot"}),
            400,
            "missing field `secret`",
        ),
        (
            "/access-rule",
            json!({"application": "nobody", "granted": true}),
            404,
            "no application `nobody`",
        ),
    ] {
        let answer = call(&http, "POST", format!("{url}{path}"), &body).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(says), "{path}: {error}");
    }
}

#[cfg(feature = "cli")]
#[tokio::test]
async fn the_program_tells_where_it_is_in_one_line() {
    use tokio::io::{AsyncBufReadExt, BufReader};

    let path = std::env::temp_dir().join(format!("runai-fake-test-{}.pem", std::process::id()));
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_runai-fake"))
        .args([
            "--tls",
            "--expires-in",
            "--application",
            "ci-bot:s3cr3t",
            "--token-lifetime",
            "60",
            "--ca-file",
        ])
        .arg(&path)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap())
        .read_line(&mut line)
        .await
        .unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        ready["applications"],
        json!([{"id": "ci-bot", "secret": "s3cr3t"}])
    );
    assert_eq!(ready["ca_path"].as_str(), path.to_str());
    let pem = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let http = client(Some(&pem));
    let url = format!("{}/api/v1/token", ready["url"].as_str().unwrap());
    let body =
        json!({"grantType": "app_token", "AppId": "ci-bot", "AppSecret": "s3cr3t"}).to_string();
    let answer = send(&http, crate::support::post(url, "application/json", body))
        .await
        .unwrap();
    assert_eq!(answer.json()["expiresIn"], 60);
    let url = format!("{}/status", ready["control_url"].as_str().unwrap());
    assert_eq!(
        call(&http, "GET", url, &Value::Null).await.json()["token_requests"],
        1
    );
}
