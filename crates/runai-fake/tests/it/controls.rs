//! Every control over HTTP.

use runai_fake::{RunaiFake, control};
use serde_json::{Value, json};

use crate::client::{Client, ID, SECRET, start};

struct Control(Client);

impl Control {
    async fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let answer = self.0.send(method, path, &[], body.to_owned()).await;
        let answer = answer.expect("an answer comes");
        (answer.status.as_u16(), answer.json())
    }

    /// A call that must work.
    async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, &body.to_string()).await;
        assert_eq!(status, 200, "{method} {path} {body}: {answer}");
        answer
    }
}

async fn controlled() -> (RunaiFake, Client, Control) {
    let fake = start().await;
    let (addr, serving) = control::listen(fake.clone(), 0)
        .await
        .expect("a port is free");
    tokio::spawn(serving);
    let client = Client::new(&fake);
    let control = Control(client.clone().at(format!("http://{addr}")));
    (fake, client, control)
}

#[tokio::test]
async fn behaviours_are_queued_and_set() {
    let (_fake, client, control) = controlled().await;
    let queued = control
        .done(
            "POST",
            "/token/behaviours",
            json!([{"status": 503}, {"token": {"raw": "t"}}]),
        )
        .await;
    assert_eq!(queued, json!({"queued": 2}));
    assert_eq!(client.ask(SECRET).await.status, 503);
    assert_eq!(client.token().await, "t");
    control
        .done("POST", "/api/behaviours", json!([{"status": 502}]))
        .await;
    assert_eq!(client.clusters("t").await, 502);
    for (path, status) in [("/token/always", 500), ("/api/always", 429)] {
        control.done("PUT", path, json!({"status": status})).await;
    }
    assert_eq!(client.ask(SECRET).await.status, 500);
    assert_eq!(client.clusters("t").await, 429);
    for path in ["/token/always", "/api/always"] {
        control.done("PUT", path, Value::Null).await;
    }
    assert_eq!(client.ask(SECRET).await.status, 200);
    assert_eq!(client.clusters("t").await, 200);
}

#[tokio::test]
async fn credentials_and_time_are_changed() {
    let (_fake, client, control) = controlled().await;
    let (one, two) = (client.token().await, client.token().await);
    control
        .done("POST", "/revoke", json!({"generation": 1}))
        .await;
    assert_eq!(
        (client.clusters(&one).await, client.clusters(&two).await),
        (401, 200)
    );
    let rule = |granted| json!({"application": ID, "granted": granted});
    control.done("POST", "/access-rule", rule(false)).await;
    assert_eq!(client.clusters(&two).await, 403);
    control.done("POST", "/access-rule", rule(true)).await;
    assert_eq!(client.clusters(&two).await, 200);
    control
        .done("POST", "/revoke", json!({"generation": null}))
        .await;
    assert_eq!(client.clusters(&two).await, 401);

    let three = client.token().await;
    control
        .done("POST", "/rotate-signing-key", Value::Null)
        .await;
    assert_eq!(client.clusters(&three).await, 401);
    control
        .done("POST", "/token-lifetime", json!({"seconds": 5}))
        .await;
    let four = client.token().await;
    control
        .done("POST", "/clock", json!({"advance_seconds": 6}))
        .await;
    assert_eq!(client.clusters(&four).await, 401);
    control
        .done("POST", "/clock", json!({"offset_seconds": -9}))
        .await;
    assert_eq!(client.clusters(&four).await, 200);
    control
        .done(
            "POST",
            "/rotate-secret",
            json!({"application": ID, "secret": "new"}),
        )
        .await;
    assert_eq!(client.ask(SECRET).await.status, 401);
    assert_eq!(client.ask("new").await.status, 200);

    let issued = control.done("GET", "/issued", Value::Null).await;
    let issued = issued.as_array().expect("an array");
    assert_eq!(issued.len(), 5);
    assert_eq!(issued[3]["token"], four);
    assert_eq!(
        (&issued[0]["revoked"], &issued[3]["revoked"]),
        (&json!(true), &json!(false))
    );
}

#[tokio::test]
async fn endpoint_versions_are_broken_and_restored() {
    let (_fake, client, control) = controlled().await;
    let configuration = "/auth/realms/runai/.well-known/openid-configuration";
    let statuses = async || {
        let v1 = client.v1(&json!({})).await.status;
        let v2 = client.v2("").await.status;
        let keycloak = client.get(configuration, "").await.status;
        [v1.as_u16(), v2.as_u16(), keycloak.as_u16()]
    };
    for (path, broken) in [
        ("/token/v1/always", [404, 400, 200]),
        ("/token/v2/always", [400, 404, 200]),
        ("/token/keycloak/always", [400, 400, 404]),
    ] {
        control.done("PUT", path, json!({"status": 404})).await;
        assert_eq!(statuses().await, broken, "{path}");
        control.done("PUT", path, Value::Null).await;
        assert_eq!(statuses().await, [400, 400, 200], "{path}");
    }
    let (status, _) = control.call("PUT", "/token/v3/always", "null").await;
    assert_eq!(status, 404);

    let elsewhere = "https://elsewhere.example/token";
    let path = "/discovered-token-endpoint";
    control.done("PUT", path, json!({"url": elsewhere})).await;
    let document = client.get(configuration, "").await.json();
    assert_eq!(document["token_endpoint"], elsewhere);
    control.done("PUT", path, json!({"url": null})).await;
    let document = client.get(configuration, "").await.json();
    assert_ne!(document["token_endpoint"], elsewhere);

    let journal = control.done("GET", "/journal", Value::Null).await;
    assert_eq!(
        (&journal[1]["kind"], &journal[2]["kind"]),
        (&json!("token"), &json!("discovery"))
    );
}

#[tokio::test]
async fn users_get_codes_and_sessions() {
    let (fake, client, control) = controlled().await;
    let redirect = "http://127.0.0.1:9/callback";
    let code = json!({"user": "test-user", "client_id": "cli", "redirect_uri": redirect});
    let code = control.done("POST", "/authorization-code", code).await;
    let exchange = json!({
        "grantType": "exchange_token",
        "code": code["code"],
        "clientID": "cli",
        "redirectUri": redirect,
    });
    let answer = client.v1(&exchange).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let status = control.done("GET", "/status", Value::Null).await;
    assert_eq!(status["secret_bearing_requests"], 1);

    let user = json!({"user": "test-user"});
    let token = control.done("POST", "/refresh-token", user).await;
    let live = async || {
        let answer = control.done("POST", "/refresh-token/live", token.clone());
        answer.await["live"].clone()
    };
    assert_eq!(live().await, true);
    let refresh_token = token["refresh_token"].as_str().expect("a text");
    assert!(fake.refresh_token_is_live(refresh_token));
    control.done("POST", "/end-sessions", Value::Null).await;
    assert_eq!(live().await, false);
    let access = answer.json();
    let access = access["accessToken"].as_str().expect("a text");
    assert_eq!(client.clusters(access).await, 401);

    for (path, body) in [
        ("/refresh-token", json!({"user": "nobody"})),
        (
            "/authorization-code",
            json!({"user": "nobody", "client_id": "cli", "redirect_uri": redirect}),
        ),
    ] {
        let (status, answer) = control.call("POST", path, &body.to_string()).await;
        assert_eq!(status, 404, "{path}");
        assert_eq!(answer["error"], "there is no user `nobody`");
    }
}

#[tokio::test]
async fn the_journal_is_shown_and_cleared() {
    let (fake, client, control) = controlled().await;
    let token = client.token().await;
    client.clusters(&token).await;
    let bytes = client.send("POST", "/api/v1/workloads/trainings", &[], vec![0xff, 0xfe]);
    bytes.await.expect("an answer comes");
    let journal = control.done("GET", "/journal", Value::Null).await;
    assert_eq!(journal[0]["method"], "POST");
    assert_eq!(journal[0]["path"], "/api/v1/token");
    assert_eq!(journal[0]["status"], 200);
    let body = journal[0]["body"].as_str().expect("a text");
    assert!(body.contains("app_token"), "{body}");
    assert_eq!(journal[1]["generation"], 1);
    assert_eq!(
        (&journal[2]["body"], &journal[2]["body_base64"]),
        (&Value::Null, &json!("//4="))
    );
    let status = control.done("GET", "/status", Value::Null).await;
    assert_eq!(
        (&status["token_requests"], &status["api_requests"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(status["url"], fake.url());
    control.done("DELETE", "/journal", Value::Null).await;
    assert_eq!(
        control.done("GET", "/journal", Value::Null).await,
        json!([])
    );
}

#[tokio::test]
async fn mistakes_are_named() {
    let (_fake, _client, control) = controlled().await;
    for (path, body, name) in [
        ("/token/behaviours", r#"[{"statsu":503}]"#, "statsu"),
        ("/token/behaviours", r#"[{},{"status":99}]"#, "status: 99"),
        ("/api/behaviours", r#"[{"drip_bytes":0}]"#, "drip_bytes"),
        (
            "/api/behaviours",
            r#"[{"headers":[["content-length","3"]]}]"#,
            "truncate",
        ),
        (
            "/api/behaviours",
            r#"[{"headers":[["a b","3"]]}]"#,
            "`a b` cannot be sent",
        ),
        ("/api/behaviours", r#"[{"status":"503"}]"#, "status"),
        ("/revoke", r#"{"generation":"x"}"#, "generation"),
        ("/rotate-secret", r#"{"application":"a"}"#, "secret"),
        (
            "/access-rule",
            r#"{"application":"a","granted":1}"#,
            "granted",
        ),
        ("/clock", r#"{"advance_seconds":-1}"#, "advance_seconds"),
        ("/token-lifetime", "{}", "seconds"),
        ("/refresh-token", r#"{"name":"a"}"#, "name"),
        ("/refresh-token/live", "{}", "refresh_token"),
        ("/authorization-code", r#"{"user":"a"}"#, "client_id"),
    ] {
        let (status, answer) = control.call("POST", path, body).await;
        assert_eq!(status, 400, "{path} {body}: {answer}");
        let message = answer["error"].as_str().expect("a text");
        assert!(message.contains(name), "{path} {body}: {message}");
    }
    let rule = r#"{"application":"nobody","granted":true}"#;
    let (status, answer) = control.call("POST", "/access-rule", rule).await;
    assert_eq!(status, 404);
    assert_eq!(answer["error"], "there is no application `nobody`");
    let (status, _) = control.call("GET", "/nowhere", "").await;
    assert_eq!(status, 404);
}
