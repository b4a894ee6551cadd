//! What the proxy reports about itself.

use runai_fake::{Behaviour, RunaiFake};

use test_support::wait_for;

use crate::support::{CLUSTERS, Proxy, command, ended, get, get_with, request, send};

#[tokio::test]
async fn the_admin_endpoints_report_and_can_refresh() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &["--admin-listen", "127.0.0.1:0"]).await;
    let url = |path| proxy.named_url("admin", path);
    assert_eq!(get(&url("/livez")).await.status, 200);
    assert_eq!(get(&url("/readyz")).await.status, 200);
    assert_eq!(get(&url("/refresh")).await.status, 405);
    assert_eq!(get(&url("/else")).await.status, 404);
    assert_eq!(fake.token_requests(), 1);
    // Right after the start the first one is still the answer.
    wait_for("a second token", async || {
        let refreshed = send(request("POST", &url("/refresh"), &[], "")).await;
        assert_eq!(refreshed.status, 200);
        assert_eq!(refreshed.json()["refreshed"], true);
        fake.token_requests() == 2
    })
    .await;

    for (name, value, expected) in [
        ("host", "evil.example", 421),
        ("origin", "https://evil.example", 403),
        ("sec-fetch-site", "cross-site", 403),
    ] {
        let headers = [(name, value)];
        for path in ["/readyz", "/metrics"] {
            let answer = get_with(&url(path), &headers).await;
            assert_eq!(answer.status, expected, "{name}: {value}");
        }
        let answer = send(request("POST", &url("/refresh"), &headers, "")).await;
        assert_eq!(answer.status, expected, "{name}: {value}");
    }
    assert_eq!(fake.token_requests(), 2);
    // Its paths are not served where callers come in.
    assert_eq!(
        proxy.get("/livez").await.headers["content-type"],
        "text/html; charset=utf-8"
    );
}

#[tokio::test]
async fn metrics_count_and_hold_no_secret() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &["--admin-listen", "127.0.0.1:0"]).await;
    for _ in 0..3 {
        assert_eq!(proxy.get(CLUSTERS).await.status, 200);
    }
    proxy.get("/api//x").await.expect(400, "path");
    let metrics = get(&proxy.named_url("admin", "/metrics")).await;
    assert_eq!(
        metrics.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        "runai_auth_proxy_requests_total{status=\"2xx\"} 3",
        "runai_auth_proxy_requests_total{status=\"4xx\"} 1",
        "runai_auth_proxy_refused_total{reason=\"path\"} 1",
        "runai_auth_proxy_in_flight 0",
        "runai_auth_proxy_upstream_errors_total 0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    assert!(text.contains("tower_bearer_"), "{text}");
    assert!(!text.contains("test-secret"));
    for token in fake.issued() {
        assert!(!text.contains(&token.token), "{text}");
    }
}

#[tokio::test]
async fn the_health_port_answers_probes_only() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let arguments = ["--health-listen", "127.0.0.1:0"];
    let proxy = Proxy::of(&fake, &arguments).await;
    let url = |path| proxy.named_url("health", path);
    assert!(proxy.line.get("admin").is_none());
    let headers = [("host", "10.1.2.3:8081")];
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get_with(&url(path), &headers).await.status, 200, "{path}");
    }
    let refreshed = send(request("POST", &url("/refresh"), &[], "")).await;
    assert_eq!(refreshed.status, 404);
    assert_eq!(fake.token_requests(), 1);
}

#[tokio::test]
async fn readiness_is_about_the_token() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &["--admin-listen", "127.0.0.1:0"]).await;
    let ready = async || get(&proxy.named_url("admin", "/readyz")).await;
    // The endpoint is down, but there is a token.
    fake.always_on_token(Some(Behaviour::status(503)));
    wait_for("a refresh that fails", async || {
        let refresh = request("POST", &proxy.named_url("admin", "/refresh"), &[], "");
        let answer = send(refresh).await;
        if answer.status == 200 {
            // That was the first token, a moment after the start.
            return false;
        }
        answer.expect(503, "unavailable");
        assert!(answer.headers.contains_key("retry-after"));
        true
    })
    .await;
    assert_eq!(ready().await.status, 200);

    // There is none, and the secret is wrong.
    let refusing = RunaiFake::builder()
        .application("test-app", "another-secret")
        .start()
        .await
        .unwrap();
    let arguments = ["--lazy", "--admin-listen", "127.0.0.1:0"];
    let proxy = Proxy::of(&refusing, &arguments).await;
    let url = proxy.named_url("admin", "/readyz");
    assert_eq!(get(&url).await.status, 200);
    proxy.get(CLUSTERS).await.expect(502, "refused");
    let unready = get(&url).await;
    assert_eq!(unready.status, 503);
    assert!(!unready.json()["reason"].as_str().unwrap().is_empty());
    assert_eq!(get(&proxy.named_url("admin", "/livez")).await.status, 200);

    // `health` reports the same.
    let base = proxy.named_url("admin", "");
    let (code, stdout, stderr) = ended(command(&["health", "--url", &base])).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stdout, "");
    // It quotes what it was answered.
    let reason = unready.json()["reason"]
        .as_str()
        .unwrap()
        .replace('"', "\\\"");
    assert!(stderr.contains(&reason), "{stderr}");
}

#[tokio::test]
async fn an_outage_ends_by_itself() {
    let fake = RunaiFake::builder().start().await.unwrap();
    fake.on_token(Behaviour::status(503));
    fake.on_token(Behaviour::status(503));
    fake.on_token(Behaviour::status(503));
    let arguments = [
        "--lazy",
        "--token-endpoint",
        "v1",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let proxy = Proxy::of(&fake, &arguments).await;
    let url = proxy.named_url("admin", "/readyz");
    proxy.get(CLUSTERS).await;
    // It recovers without a request.
    wait_for("a token", async || {
        get(&url).await.status == 200 && fake.issued().len() == 1
    })
    .await;
}

#[tokio::test]
async fn health_says_whether_a_proxy_is_ready() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &["--health-listen", "127.0.0.1:0"]).await;
    let base = proxy.named_url("health", "");
    let (code, ..) = ended(command(&["health", "--url", &base])).await;
    assert_eq!(code, Some(0));
    let by_variable = command(&["health"]).var("RUNAI_AUTH_HEALTH_URL", &base);
    assert_eq!(ended(by_variable).await.0, Some(0));

    drop(proxy);
    wait_for("no proxy", async || {
        ended(command(&["health", "--url", &base])).await.0 == Some(1)
    })
    .await;
    let (code, _, stderr) = ended(command(&["health"])).await;
    assert_eq!(code, Some(2), "{stderr}");
    let (code, ..) = ended(command(&["health", "--url", "https://x"])).await;
    assert_eq!(code, Some(2));
}

#[tokio::test]
async fn a_rejected_token_that_nothing_replaces_makes_it_not_ready() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &["--admin-listen", "127.0.0.1:0"]).await;
    let ready = async || get(&proxy.named_url("admin", "/readyz")).await.status;
    assert_eq!(ready().await, 200);
    fake.revoke_all();
    fake.always_on_token(Some(Behaviour::status(503)));
    assert_eq!(proxy.get(CLUSTERS).await.status, 503);
    assert_eq!(ready().await, 503);
    fake.always_on_token(None);
    wait_for("another token", async || {
        proxy.get(CLUSTERS).await.status == 200
    })
    .await;
    assert_eq!(ready().await, 200);
}
