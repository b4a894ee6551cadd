//! How users get a token, on v1 and v2.

use runai_fake::{Behaviour, RunaiFake, TokenShape};
use serde_json::{Value, json};

use crate::client::{Answer, Client, ID, SECRET, start};

pub(crate) const USER: &str = "ada@example.com";
/// Any of these has to be encoded in a form.
pub(crate) const PASSWORD: &str = "p&ss=w+rd %41é";
pub(crate) const CALLBACK: &str = "http://127.0.0.1:9/callback";

pub(crate) async fn with_people() -> (RunaiFake, Client) {
    let fake = RunaiFake::builder()
        .application(ID, SECRET)
        .user(USER, PASSWORD)
        .user("grace", "hopper")
        .external_token("external-1", "grace")
        .external_token("external-2", ID)
        .start()
        .await
        .expect("a port is free");
    let client = Client::new(&fake);
    (fake, client)
}

pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

pub(crate) fn text(answer: &Value, member: &str) -> String {
    let text = answer[member].as_str();
    text.unwrap_or_else(|| panic!("{member} is no text: {answer}"))
        .to_owned()
}

pub(crate) fn log_in(password: &str) -> Value {
    json!({"grantType": "password", "username": USER, "password": password, "clientID": "cli"})
}

pub(crate) fn refresh(token: &str) -> Value {
    json!({"grantType": "refresh_token", "refreshToken": token, "clientID": "cli"})
}

pub(crate) fn v2_refresh(token: &str) -> String {
    form(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_id", "cli"),
    ])
}

/// The access token and the refresh token of an answer that must be good.
pub(crate) fn pair(answer: &Answer, access: &str, refresh: &str) -> (String, String) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    (text(&answer, access), text(&answer, refresh))
}

pub(crate) fn v1_pair(answer: &Answer) -> (String, String) {
    pair(answer, "accessToken", "refreshToken")
}

pub(crate) fn v1_error(answer: &Answer, status: u16, message: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json(), json!({"code": status, "message": message}));
}

pub(crate) fn v2_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["error"], error, "{answer:?}");
}

#[tokio::test]
async fn the_default_user_logs_in() {
    let fake = start().await;
    let asked = json!({
        "grantType": "password",
        "username": "test-user",
        "password": "test-password",
        "clientID": "cli",
    });
    let answer = Client::new(&fake).v1(&asked).await;
    let (token, refresh) = v1_pair(&answer);
    assert_eq!(refresh, "refresh-1");
    assert!(fake.accepts(&token));
}

#[tokio::test]
async fn v1_lets_users_log_in() {
    let (fake, client) = with_people().await;
    let answer = client.v1(&log_in(PASSWORD)).await;
    let (token, refresh) = v1_pair(&answer);
    assert_eq!(answer.json()["idToken"], token.as_str());
    assert_eq!(client.clusters(&token).await, 200);
    assert!(fake.refresh_token_is_live(&refresh));
    let rules = client
        .get("/api/v1/authorization/me/access-rules", &token)
        .await
        .json();
    let rule = &rules["accessRules"]["accessRules"][0];
    assert_eq!(
        (&rule["subjectId"], &rule["subjectType"]),
        (&USER.into(), &"user".into())
    );

    v1_error(
        &client.v1(&log_in("wrong")).await,
        401,
        "Invalid user credentials",
    );
    let journal = fake.journal();
    let clients: Vec<_> = journal.iter().map(|it| it.client.as_deref()).collect();
    assert_eq!(clients, [Some(USER); 4]);
    // Another user's password is wrong too.
    v1_error(
        &client.v1(&log_in("hopper")).await,
        401,
        "Invalid user credentials",
    );
}

#[tokio::test]
async fn v1_refuses_what_lacks_a_part() {
    let (fake, client) = with_people().await;
    let refresh_token = fake.refresh_token_for(USER);
    let code = fake.authorization_code(USER, "cli", CALLBACK);
    for whole in [
        log_in(PASSWORD),
        refresh(&refresh_token),
        json!({"grantType": "exchange_token", "code": code, "clientID": "cli", "redirectUri": CALLBACK}),
        json!({"grantType": "external_token_exchange", "externalToken": "external-1"}),
    ] {
        let members = whole.as_object().expect("it is an object");
        for member in members.keys().filter(|name| *name != "grantType") {
            let mut part = members.clone();
            part.remove(member);
            let answer = client.v1(&part.clone().into()).await;
            v1_error(&answer, 400, "Required parameter is missing");
            // An empty one says as little.
            part.insert(member.clone(), "".into());
            v1_error(
                &client.v1(&part.into()).await,
                400,
                "Required parameter is missing",
            );
        }
        assert_eq!(client.v1(&whole).await.status, 200, "{whole}");
    }
}

#[tokio::test]
async fn v1_exchanges_a_code_once() {
    let (fake, client) = with_people().await;
    let exchange = |code: &str, id: &str, redirect: &str| json!({"grantType": "exchange_token", "code": code, "clientID": id, "redirectUri": redirect});
    let code = fake.authorization_code(USER, "cli", CALLBACK);
    let right = exchange(&code, "cli", CALLBACK);
    let (token, refresh_token) = v1_pair(&client.v1(&right).await);
    assert_eq!(client.clusters(&token).await, 200);
    assert_eq!(client.v1(&refresh(&refresh_token)).await.status, 200);
    v1_error(&client.v1(&right).await, 401, "Code not valid");

    for (id, redirect) in [("ui", CALLBACK), ("cli", "http://127.0.0.1:9/other")] {
        let code = fake.authorization_code(USER, "cli", CALLBACK);
        let answer = client.v1(&exchange(&code, id, redirect)).await;
        v1_error(&answer, 401, "Code not valid");
    }
}

#[tokio::test]
async fn v1_exchanges_an_external_token() {
    let (fake, client) = with_people().await;
    let exchange =
        |token: &str| json!({"grantType": "external_token_exchange", "externalToken": token});
    for (external, owner) in [("external-1", "grace"), ("external-2", ID)] {
        let answer = client.v1(&exchange(external)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["refreshToken"], "");
        let token = text(&answer.json(), "accessToken");
        assert_eq!(client.clusters(&token).await, 200);
        let issued = fake.issued();
        assert_eq!(issued.last().map(|it| it.client.as_str()), Some(owner));
    }
    v1_error(
        &client.v1(&exchange("external-3")).await,
        401,
        "Invalid external token",
    );
}

/// A user with the name of an application does not need its access rule.
#[tokio::test]
async fn an_access_rule_is_not_a_users() {
    let fake = RunaiFake::builder()
        .application("same", "s")
        .user("same", "p")
        .start()
        .await
        .expect("a port is free");
    let client = Client::new(&fake);
    let user =
        json!({"grantType": "password", "username": "same", "password": "p", "clientID": "cli"});
    let application = json!({"grantType": "app_token", "AppId": "same", "AppSecret": "s"});
    let user = text(&client.v1(&user).await.json(), "accessToken");
    let application = text(&client.v1(&application).await.json(), "accessToken");
    assert!(fake.drop_access_rule("same"));
    assert_eq!(client.clusters(&user).await, 200);
    assert_eq!(client.clusters(&application).await, 403);
}

#[tokio::test]
async fn v2_lets_users_log_in_and_refresh() {
    let (fake, client) = with_people().await;
    let log_in = |password: &str| {
        form(&[
            ("grant_type", "password"),
            ("username", USER),
            ("password", password),
            ("client_id", "cli"),
        ])
    };
    let answer = client.v2(&log_in(PASSWORD)).await;
    let (token, refresh_token) = pair(&answer, "access_token", "refresh_token");
    assert_eq!(answer.header("cache-control"), "no-store");
    let answer = answer.json();
    assert_eq!(answer["id_token"], token.as_str());
    assert_eq!(
        (&answer["token_type"], &answer["expires_in"]),
        (&"Bearer".into(), &3600.into())
    );
    assert_eq!(client.clusters(&token).await, 200);
    v2_error(&client.v2(&log_in("wrong")).await, 400, "invalid_grant");

    let other = v2_refresh(&refresh_token).replace("client_id=cli", "client_id=ui");
    v2_error(&client.v2(&other).await, 400, "invalid_grant");
    v2_error(
        &client.v2(&v2_refresh("refresh-99")).await,
        400,
        "invalid_grant",
    );
    let answer = client.v2(&v2_refresh(&refresh_token)).await;
    let (_, next) = pair(&answer, "access_token", "refresh_token");
    assert_ne!(next, refresh_token);
    assert!(fake.refresh_token_is_live(&next));
}

#[tokio::test]
async fn v2_exchanges_a_code_and_wants_all_parts() {
    let (fake, client) = with_people().await;
    let code = fake.authorization_code(USER, "cli", CALLBACK);
    let refresh_token = fake.refresh_token_for(USER);
    let exchange = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", CALLBACK),
        ("client_id", "cli"),
    ];
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &refresh_token),
        ("client_id", "cli"),
    ];
    let log_in = [
        ("grant_type", "password"),
        ("username", USER),
        ("password", PASSWORD),
        ("client_id", "cli"),
    ];
    for whole in [&exchange[..], &refresh, &log_in] {
        for place in 0..whole.len() {
            let mut part = whole.to_vec();
            part.remove(place);
            v2_error(&client.v2(&form(&part)).await, 400, "invalid_request");
            part.push((whole[place].0, ""));
            v2_error(&client.v2(&form(&part)).await, 400, "invalid_request");
        }
        assert_eq!(client.v2(&form(whole)).await.status, 200, "{whole:?}");
    }
    v2_error(&client.v2(&form(&exchange)).await, 400, "invalid_grant");
    // No secret is needed, but one that comes must be right.
    let mut shown = log_in.to_vec();
    shown.push(("client_secret", "made up"));
    v2_error(&client.v2(&form(&shown)).await, 401, "invalid_client");
}

/// An application gets no refresh token.
#[tokio::test]
async fn applications_have_no_session() {
    let (fake, client) = with_people().await;
    let answer = client.ask(SECRET).await.json();
    assert_eq!(answer["refreshToken"], "");
    let asked = [
        ("grant_type", "client_credentials"),
        ("client_id", ID),
        ("client_secret", SECRET),
    ];
    let answer = client.v2(&form(&asked)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert!(answer.get("refresh_token").is_none(), "{answer}");
    assert!(answer.get("id_token").is_none(), "{answer}");
    assert_eq!(fake.token_requests(), 2);
}

#[tokio::test]
async fn a_users_token_has_any_shape() {
    let (fake, client) = with_people().await;
    fake.on_token(Behaviour::token(TokenShape::Opaque));
    let (token, _) = v1_pair(&client.v1(&log_in(PASSWORD)).await);
    assert_eq!(token, "opaque-token-1");
    assert_eq!(client.clusters(&token).await, 200);
    fake.on_token(Behaviour::token(TokenShape::Same));
    let (same, _) = v1_pair(&client.v1(&log_in(PASSWORD)).await);
    assert_eq!(same, token);
    fake.on_token(Behaviour::token(TokenShape::Expired));
    let (token, _) = v1_pair(&client.v1(&log_in(PASSWORD)).await);
    assert_eq!(client.clusters(&token).await, 401);
}
