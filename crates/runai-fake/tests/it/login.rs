//! Keycloak's login page, its codes, and PKCE.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use serde_json::json;

use crate::{
    client::{Answer, Client},
    keycloak::{LOGIN, ask, error},
    people::{CALLBACK, USER, form, text, with_people},
};

const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters";

fn s256(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

async fn log_in(client: &Client, query: &[(&str, &str)]) -> Answer {
    client.get(&format!("{LOGIN}?{}", form(query)), "").await
}

/// The code of a login for `cli`.
pub(crate) async fn code(client: &Client, challenge: &[(&str, &str)]) -> String {
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

pub(crate) fn redemption(code: &str) -> Vec<(&str, &str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("client_id", "cli"),
    ]
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
    // The challenge itself is not a verifier, and v1 has no member for one.
    let code_1 = code(&client, &challenge).await;
    let mut fields = redemption(&code_1);
    fields.push(("code_verifier", challenge[0].1));
    error(&ask(&client, &fields).await, 400, "invalid_grant");
    let code_2 = code(&client, &challenge).await;
    let v1 = json!({"grantType": "exchange_token", "code": code_2, "clientID": "cli", "redirectUri": CALLBACK});
    assert_eq!(client.v1(&v1).await.status, 401);
    // Without a challenge, a verifier is ignored.
    let code_3 = code(&client, &[]).await;
    let mut fields = redemption(&code_3);
    fields.push(("code_verifier", "whatever"));
    assert_eq!(ask(&client, &fields).await.status, 200);
}
