//! Which callers are let in, and with what.

use runai_fake::RunaiFake;

use test_support::{Scratch, wait_for};

use crate::support::{CLUSTERS, Proxy, SUBMIT, get_with, raw, request, send};

async fn status(proxy: &Proxy, head: &str) -> u16 {
    let asked = format!("{head}\r\nConnection: close\r\n\r\n");
    let answer = raw(proxy.addr(), asked.as_bytes()).await;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    status
        .parse()
        .unwrap_or_else(|_| panic!("{head}: {answer}"))
}

#[tokio::test]
async fn hostile_requests_do_not_reach_the_control_plane() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &[]).await;
    let addr = proxy.addr();
    let port = addr.port();
    let own = format!("Host: {addr}");
    for (head, expected) in [
        (
            "GET /api/v1/clusters HTTP/1.1\r\nHost: evil.example".into(),
            421,
        ),
        (
            format!("GET /api/v1/clusters HTTP/1.1\r\nHost: evil.example:{port}"),
            421,
        ),
        ("GET /api/v1/clusters HTTP/1.1".into(), 400),
        (
            format!("GET /api/v1/clusters HTTP/1.1\r\n{own}\r\n{own}"),
            400,
        ),
        (
            format!("GET http://{addr}/api/v1/clusters HTTP/1.1\r\n{own}"),
            400,
        ),
        (format!("GET http://evil.example/ HTTP/1.1\r\n{own}"), 400),
        (format!("CONNECT {} HTTP/1.1\r\n{own}", fake.addr()), 405),
        (format!("TRACE /api/v1/clusters HTTP/1.1\r\n{own}"), 405),
        (format!("OPTIONS * HTTP/1.1\r\n{own}"), 400),
        (
            format!("GET /api/v1/clusters HTTP/1.1\r\n{own}\r\nOrigin: https://evil.example"),
            403,
        ),
        (
            format!("GET /api/v1/clusters HTTP/1.1\r\n{own}\r\nOrigin: null"),
            403,
        ),
        (
            format!("GET /api/v1/clusters HTTP/1.1\r\n{own}\r\nSec-Fetch-Site: cross-site"),
            403,
        ),
        (
            format!("GET /api/v1/clusters HTTP/1.1\r\n{own}\r\nSec-Fetch-Site: same-site"),
            403,
        ),
        (
            format!("GET /api/../api/v1/clusters HTTP/1.1\r\n{own}"),
            400,
        ),
        (
            format!("GET /api/%2e%2e/v1/clusters HTTP/1.1\r\n{own}"),
            400,
        ),
        (format!("GET /api/v1%2fclusters HTTP/1.1\r\n{own}"), 400),
        (format!("GET /api/v1%5cclusters HTTP/1.1\r\n{own}"), 400),
        (format!("GET /api/v1%00clusters HTTP/1.1\r\n{own}"), 400),
        (format!("GET //evil.example/ HTTP/1.1\r\n{own}"), 400),
    ] {
        assert_eq!(status(&proxy, &head).await, expected, "{head}");
    }
    assert_eq!(fake.api_requests(), 0);
    for head in [
        format!("GET /api/v1/clusters HTTP/1.1\r\nHost: localhost:{port}"),
        format!("GET /api/v1/clusters HTTP/1.1\r\n{own}\r\nOrigin: http://{addr}"),
        format!("GET /api/v1/clusters HTTP/1.1\r\n{own}\r\nSec-Fetch-Site: none"),
        format!("GET /api/v1/clusters HTTP/1.0\r\n{own}"),
    ] {
        assert_eq!(status(&proxy, &head).await, 200, "{head}");
    }
    assert_eq!(fake.api_requests(), 4);
    let headers = [("origin", "https://evil.example")];
    let answer = get_with(&proxy.url(CLUSTERS), &headers).await;
    answer.expect(403, "origin");
    assert!(
        answer
            .headers
            .keys()
            .all(|name| !name.as_str().starts_with("access-control"))
    );
}

#[tokio::test]
async fn another_host_can_be_allowed() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &["--allow-host", "proxy.example"]).await;
    let get = |host| format!("GET /api/v1/clusters HTTP/1.1\r\nHost: {host}");
    assert_eq!(status(&proxy, &get("proxy.example")).await, 200);
    assert_eq!(status(&proxy, &get("other.example")).await, 421);
}

#[tokio::test]
async fn the_key_is_taken_in_three_ways_and_can_be_rotated() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let scratch = Scratch::new();
    let file = scratch.write("key", "the-first-key-of-all\n");
    let proxy = Proxy::of(&fake, &["--inbound-key-file", &file]).await;
    proxy.get(CLUSTERS).await.expect(403, "key");
    let wrong = [("authorization", "Bearer wrong")];
    get_with(&proxy.url(CLUSTERS), &wrong)
        .await
        .expect(403, "key");
    assert_eq!(fake.api_requests(), 0);

    let bearer = [("authorization", "Bearer the-first-key-of-all")];
    let header = [("x-runai-auth-key", "the-first-key-of-all")];
    assert_eq!(get_with(&proxy.url(CLUSTERS), &bearer).await.status, 200);
    assert_eq!(get_with(&proxy.url(CLUSTERS), &header).await.status, 200);
    let below = proxy.get("/the-first-key-of-all/api/v1/clusters").await;
    assert_eq!(below.status, 200);
    for seen in fake
        .journal()
        .iter()
        .filter(|it| it.path != "/api/v1/token")
    {
        assert_eq!(seen.path, CLUSTERS);
        assert_eq!(seen.generation, Some(1));
        assert!(!format!("{:?}", seen.headers).contains("the-first-key"));
    }

    scratch.write("key", "the-second-key-of-all\n");
    let header = [("x-runai-auth-key", "the-second-key-of-all")];
    wait_for("the new key counts", async || {
        get_with(&proxy.url(CLUSTERS), &header).await.status == 200
    })
    .await;
    get_with(&proxy.url(CLUSTERS), &bearer)
        .await
        .expect(403, "key");
}

#[tokio::test]
async fn rules_are_kept() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let post = async |proxy: &Proxy, path| send(request("POST", &proxy.url(path), &[], "{}")).await;

    let proxy = Proxy::of(&fake, &["--read-only"]).await;
    assert_eq!(proxy.get(CLUSTERS).await.status, 200);
    let refused = post(&proxy, SUBMIT).await;
    refused.expect(405, "method");
    assert_eq!(refused.headers["allow"], "GET, HEAD, OPTIONS");

    let proxy = Proxy::of(&fake, &["--methods", "POST"]).await;
    assert_eq!(post(&proxy, SUBMIT).await.status, 202);
    proxy.get(CLUSTERS).await.expect(405, "method");

    let rules = ["--allow-path", "/api/v1", "--deny-path", "/api/*/clusters"];
    let proxy = Proxy::of(&fake, &rules).await;
    assert_eq!(proxy.get("/api/v1/org-unit/projects").await.status, 200);
    proxy.get(CLUSTERS).await.expect(403, "path");
    proxy.get("/api/v1/cl%75sters").await.expect(403, "path");
    proxy.get("/api/v10/x").await.expect(403, "path");
}

#[tokio::test]
async fn token_requests_are_never_forwarded() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &[]).await;
    fake.clear_journal();
    let body = r#"{"grantType":"app_token","AppId":"a","AppSecret":"b"}"#;
    let post = async |path: &str| send(request("POST", &proxy.url(path), &[], body)).await;

    let answer = post("/api/v1/token").await;
    assert_eq!(answer.status, 200);
    let jwt = answer.json()["accessToken"].as_str().unwrap().to_owned();
    // As NVIDIA's SDK decodes it: plain base64 with `==` after it.
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let payload = STANDARD.decode(jwt.split('.').nth(1).unwrap()).unwrap();
    let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(payload["iss"], "runai-auth proxy");
    assert!(payload["exp"].as_u64().unwrap() - payload["iat"].as_u64().unwrap() == 86_400);
    assert!(!fake.accepts(&jwt));
    let answer = post("/api/v2/token").await;
    assert_eq!(answer.json()["token_type"], "Bearer");
    assert_eq!(answer.json()["expires_in"], 86_400);
    // A client uses it, and gets what it wants: the real token is the proxy's to add.
    let headers = [("authorization", &*format!("Bearer {jwt}"))];
    assert_eq!(get_with(&proxy.url(CLUSTERS), &headers).await.status, 200);

    for (path, expected) in [
        ("/api/v1/token/", 200),
        ("/API/V1/TOKEN", 200),
        ("/api/v1/%74oken", 200),
        ("/api/v1/%2574oken", 200),
        ("/api/v2/token;a=b", 200),
        ("/api/v1/token?x=y", 200),
        ("/api/v1//token", 400),
        ("/api/v1/./token", 400),
        ("/api/v1/x/../token", 400),
        ("/api/v1%2ftoken", 400),
        ("/api/v3/token", 404),
        ("/api/v1/token/x", 404),
        ("/auth/realms/runai/protocol/openid-connect/token", 404),
        ("/AUTH/realms/x/protocol/openid-connect/token/", 404),
    ] {
        assert_eq!(post(path).await.status, expected, "{path}");
    }
    proxy.get("/api/v1/token").await.expect(405, "token");
    assert_eq!(fake.token_requests(), 0);
    assert_eq!(fake.api_requests(), 1);
}
