//! Missing and broken versions of the token endpoint, and the secrets that are sent to them.

use runai_fake::{Behaviour, EndpointVersion, RunaiFake};
use serde_json::json;

use crate::{
    client::{Answer, Client, ID, SECRET, start},
    keycloak::{CONFIGURATION, TOKEN},
    people::form,
};

const VERSIONS: [EndpointVersion; 3] = [
    EndpointVersion::V1,
    EndpointVersion::V2,
    EndpointVersion::Keycloak,
];

async fn ask(client: &Client, at: EndpointVersion) -> Answer {
    let fields = form(&[
        ("grant_type", "client_credentials"),
        ("client_id", ID),
        ("client_secret", SECRET),
    ]);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    match at {
        EndpointVersion::V1 => client.ask(SECRET).await,
        EndpointVersion::V2 => client.v2(&fields).await,
        _ => {
            let sent = client.send("POST", TOKEN, &headers, fields).await;
            sent.expect("an answer comes")
        }
    }
}

#[tokio::test]
async fn an_endpoint_version_can_be_missing_from_the_start() {
    for missing in VERSIONS {
        let fake = RunaiFake::builder()
            .application(ID, SECRET)
            .endpoint_version(missing, false)
            .start()
            .await
            .expect("a port is free");
        let client = Client::new(&fake);
        for version in VERSIONS {
            let answer = ask(&client, version).await;
            let status = if version == missing { 404 } else { 200 };
            assert_eq!(answer.status, status, "{version:?} without {missing:?}");
            if version == missing {
                assert_eq!(answer.json()["code"], 404);
            }
        }
        let status = if missing == EndpointVersion::Keycloak {
            404
        } else {
            200
        };
        assert_eq!(client.get(CONFIGURATION, "").await.status, status);
        assert_eq!((fake.token_requests(), fake.api_requests()), (3, 0));
    }
    let builder = RunaiFake::builder().application(ID, SECRET);
    let fake = builder
        .endpoint_version(EndpointVersion::V1, false)
        .endpoint_version(EndpointVersion::V1, true)
        .start();
    let fake = fake.await.expect("a port is free");
    assert_eq!(
        ask(&Client::new(&fake), EndpointVersion::V1).await.status,
        200
    );
}

#[tokio::test]
async fn an_endpoint_version_can_be_broken() {
    let fake = start().await;
    let client = Client::new(&fake);
    for broken in VERSIONS {
        fake.always_on_version(broken, Some(Behaviour::status(404)));
        for version in VERSIONS {
            let status = if version == broken { 404 } else { 200 };
            assert_eq!(ask(&client, version).await.status, status, "{version:?}");
        }
        let status = if broken == EndpointVersion::Keycloak {
            404
        } else {
            200
        };
        assert_eq!(client.get(CONFIGURATION, "").await.status, status);
        fake.always_on_version(broken, Some(Behaviour::html()));
        let answer = ask(&client, broken).await;
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        fake.always_on_version(broken, None);
        assert_eq!(ask(&client, broken).await.status, 200);
    }
}

/// A queued behaviour comes first, then that of the endpoint version, then that of all token requests.
#[tokio::test]
async fn the_closest_plan_counts() {
    let fake = start().await;
    let client = Client::new(&fake);
    fake.always_on_token(Some(Behaviour::status(500)));
    fake.always_on_version(EndpointVersion::V2, Some(Behaviour::status(404)));
    fake.on_token(Behaviour::status(503));
    for (version, status) in [
        (EndpointVersion::V2, 503),
        (EndpointVersion::V2, 404),
        (EndpointVersion::V1, 500),
        (EndpointVersion::Keycloak, 500),
    ] {
        assert_eq!(ask(&client, version).await.status, status, "{version:?}");
    }
    // The behaviours of token requests, queued or not, do not apply to discovery.
    fake.on_token(Behaviour::status(503));
    assert_eq!(client.get(CONFIGURATION, "").await.status, 200);
    assert_eq!(ask(&client, EndpointVersion::V1).await.status, 503);
}

/// An empty request probes whether an endpoint version exists. Each answers in its own format.
#[tokio::test]
async fn an_empty_request_is_answered_in_the_versions_format() {
    let fake = start().await;
    let client = Client::new(&fake);
    let answer = client.v1(&json!({})).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (400, &400.into())
    );
    let answer = client.v2("").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"], "invalid_request");
    assert_eq!(fake.token_requests(), 2);
    assert_eq!(fake.secret_bearing_requests(), 0);
}

#[tokio::test]
async fn requests_with_secrets_are_counted() {
    let fake = start().await;
    let client = Client::new(&fake);
    client.v1(&json!({})).await;
    client
        .v1(&json!({"grantType": "password", "username": "a"}))
        .await;
    client.v2("grant_type=refresh_token&refresh_token=").await;
    client.get(CONFIGURATION, "").await;
    client.get("/api/v1/clusters", "token").await;
    assert_eq!(fake.secret_bearing_requests(), 0);
    // A request counts whatever it was answered.
    fake.always_on_version(EndpointVersion::V1, Some(Behaviour::html()));
    let mut count = 0;
    for body in [
        json!({"AppSecret": "s"}),
        json!({"clientSecret": "s"}),
        json!({"password": "p"}),
        json!({"refreshToken": "r"}),
        json!({"code": "c"}),
        json!({"externalToken": "e"}),
    ] {
        client.v1(&body).await;
        count += 1;
        assert_eq!(fake.secret_bearing_requests(), count, "{body}");
    }
    for version in [EndpointVersion::V2, EndpointVersion::Keycloak] {
        ask(&client, version).await;
        count += 1;
        assert_eq!(fake.secret_bearing_requests(), count, "{version:?}");
    }
    let basic = [
        ("authorization", "Basic YTpi"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let sent = client.send("POST", TOKEN, &basic, "grant_type=client_credentials");
    assert_eq!(sent.await.expect("an answer comes").status, 401);
    assert_eq!(fake.secret_bearing_requests(), count + 1);
}
