//! What callers see when the token is rejected, or there is none.

use std::time::Duration;

use runai_fake::{Behaviour, RunaiFake};

use test_support::{Scratch, within};

use crate::support::{CLUSTERS, Proxy, SUBMIT, command_for, ended, request, send};

#[tokio::test]
async fn callers_do_not_see_that_a_token_was_revoked() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &[]).await;
    assert_eq!(proxy.get(CLUSTERS).await.status, 200);
    fake.revoke_all();
    let body = format!(r#"{{"name":"{}"}}"#, "x".repeat(10_000));
    let answer = send(request("POST", &proxy.url(SUBMIT), &[], body.clone())).await;
    assert_eq!(answer.status, 202);
    let received = answer.headers["x-received-bytes"].to_str().unwrap();
    assert_eq!(received, body.len().to_string());
    assert_eq!(fake.token_requests(), 2);
    assert_eq!(fake.api_requests(), 3);
}

#[tokio::test]
async fn a_body_too_large_to_replay_gets_503_with_retry_after() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let body = format!(r#"{{"name":"{}"}}"#, "x".repeat(100_000));
    let post = async |proxy: &Proxy| {
        let asked = request("POST", &proxy.url(SUBMIT), &[], body.clone());
        send(asked).await
    };
    let proxy = Proxy::of(&fake, &[]).await;
    fake.revoke_all();
    let answer = post(&proxy).await;
    answer.expect(503, "rejected");
    assert_eq!(answer.headers["retry-after"], "1");
    within(fake.wait_for(|journal| {
        let granted = |it: &&runai_fake::Exchange| it.path == "/api/v1/token";
        journal.iter().filter(granted).count() == 2
    }))
    .await;
    assert_eq!(post(&proxy).await.status, 202);

    let proxy = Proxy::of(&fake, &["--replay-limit", "200000"]).await;
    fake.revoke_all();
    assert_eq!(post(&proxy).await.status, 202);
}

#[tokio::test]
async fn a_control_plane_that_rejects_its_own_tokens_has_its_own_reason() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &[]).await;
    fake.always_on_api(Some(Behaviour::status(401)));
    proxy.get(CLUSTERS).await.expect(502, "rejected");
    // A 401 that is not about the token is passed on as another status too.
    let basic = Behaviour::status(401).header("www-authenticate", "Basic realm=\"x\"");
    fake.always_on_api(Some(basic));
    proxy.get(CLUSTERS).await.expect(502, "rejected");
    fake.always_on_api(Some(Behaviour::status(403)));
    assert_eq!(proxy.get(CLUSTERS).await.status, 403);
}

#[tokio::test]
async fn an_outage_gets_503_with_retry_after() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let outage = Behaviour::status(503).header("retry-after", "120");
    fake.always_on_token(Some(outage));
    let proxy = Proxy::of(&fake, &["--lazy", "--token-endpoint", "v1"]).await;
    let answer = proxy.get(CLUSTERS).await;
    answer.expect(503, "unavailable");
    let retry: u64 = answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=120).contains(&retry), "{retry}");
    assert_eq!(fake.api_requests(), 0);
}

#[tokio::test]
async fn rejected_credentials_get_502_without_retry_after() {
    let fake = RunaiFake::builder()
        .application("test-app", "another-secret")
        .start()
        .await
        .unwrap();
    let proxy = Proxy::of(&fake, &["--lazy"]).await;
    let answer = proxy.get(CLUSTERS).await;
    answer.expect(502, "refused");
    assert!(!answer.headers.contains_key("retry-after"));
    assert!(!answer.json().to_string().contains("test-secret"));
    assert_eq!(fake.api_requests(), 0);
}

#[tokio::test]
async fn without_a_token_nothing_listens() {
    let refusing = RunaiFake::builder()
        .application("test-app", "another-secret")
        .start()
        .await
        .unwrap();
    let scratch = Scratch::new();
    let socket = scratch.path("socket");
    let listen = format!("unix:{}", socket.display());
    let arguments = ["proxy", "--listen", &listen];
    let (code, stdout, stderr) = ended(command_for(refusing.url(), &arguments)).await;
    assert_eq!(code, Some(3), "{stderr}");
    assert_eq!(stdout, "");
    assert!(stderr.contains("error: "), "{stderr}");
    assert!(stderr.contains("hint: "), "{stderr}");
    assert!(!socket.exists());

    let down = RunaiFake::builder().start().await.unwrap();
    down.shutdown().await;
    let arguments = ["proxy", "--listen", &listen, "--timeout", "100ms"];
    let (code, stdout, stderr) = ended(command_for(down.url(), &arguments)).await;
    assert_eq!(code, Some(4), "{stderr}");
    assert_eq!(stdout, "");
}

#[tokio::test]
async fn a_control_plane_out_of_reach_has_its_own_reason() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let proxy = Proxy::of(&fake, &[]).await;
    fake.on_api(Behaviour::fault(runai_fake::Fault::Close));
    proxy.get(CLUSTERS).await.expect(502, "upstream");
    fake.shutdown().await;
    proxy.get(CLUSTERS).await.expect(502, "unreachable");
}

#[tokio::test]
async fn lazy_asks_for_nothing_before_it_is_needed() {
    let fake = RunaiFake::builder().start().await.unwrap();
    let arguments = ["--lazy", "--admin-listen", "127.0.0.1:0"];
    let proxy = Proxy::of(&fake, &arguments).await;
    let ready = crate::support::get(&proxy.named_url("admin", "/readyz")).await;
    assert_eq!(ready.status, 200);
    assert_eq!(fake.journal().len(), 0);
    assert_eq!(proxy.get(CLUSTERS).await.status, 200);
    assert_eq!(fake.token_requests(), 1);
    // It is kept warm from now on.
    fake.set_token_lifetime(Duration::from_secs(3600));
    assert_eq!(proxy.get(CLUSTERS).await.status, 200);
    assert_eq!(fake.token_requests(), 1);
}
