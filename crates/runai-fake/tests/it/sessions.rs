//! Refresh tokens: used once, used again, stolen; and the end of their sessions.

use std::time::Duration;

use runai_fake::{Behaviour, Fault, RunaiFake};

use crate::{
    client::Client,
    people::{
        PASSWORD, USER, log_in, pair, refresh, v1_error, v1_pair, v2_error, v2_refresh, with_people,
    },
};

#[tokio::test]
async fn v1_refreshes_for_the_same_client_only() {
    let (fake, client) = with_people().await;
    let (first, refresh_token) = v1_pair(&client.v1(&log_in(PASSWORD)).await);
    let mut other = refresh(&refresh_token);
    other["clientID"] = "ui".into();
    v1_error(&client.v1(&other).await, 401, "Invalid refresh token");
    v1_error(
        &client.v1(&refresh("refresh-99")).await,
        401,
        "Invalid refresh token",
    );
    assert!(fake.refresh_token_is_live(&refresh_token));

    let (second, next) = v1_pair(&client.v1(&refresh(&refresh_token)).await);
    assert_eq!(next, "refresh-2");
    assert_ne!(first, second);
    assert!(!fake.refresh_token_is_live(&refresh_token));
    assert!(fake.refresh_token_is_live(&next));
    for token in [&first, &second] {
        assert_eq!(client.clusters(token).await, 200);
    }
}

#[tokio::test]
async fn a_used_refresh_token_ends_its_session_on_v1() {
    let (fake, client) = with_people().await;
    let bystander = v1_pair(&client.v1(&log_in(PASSWORD)).await);
    let application = client.token().await;
    let (first, used) = v1_pair(&client.v1(&log_in(PASSWORD)).await);
    let (second, live) = v1_pair(&client.v1(&refresh(&used)).await);

    v1_error(&client.v1(&refresh(&used)).await, 400, "Session not active");
    assert!(!fake.refresh_token_is_live(&live));
    v1_error(&client.v1(&refresh(&live)).await, 400, "Session not active");
    for token in [&first, &second] {
        assert_eq!(client.clusters(token).await, 401);
    }
    // Other sessions go on.
    assert!(fake.refresh_token_is_live(&bystander.1));
    for token in [&bystander.0, &application] {
        assert_eq!(client.clusters(token).await, 200);
    }
}

#[tokio::test]
async fn a_used_refresh_token_ends_its_session_on_v2() {
    let (fake, client) = with_people().await;
    let used = fake.refresh_token_for(USER);
    let answer = client.v2(&v2_refresh(&used)).await;
    let (token, live) = pair(&answer, "access_token", "refresh_token");
    assert_eq!(client.clusters(&token).await, 200);
    v2_error(&client.v2(&v2_refresh(&used)).await, 400, "invalid_grant");
    assert!(!fake.refresh_token_is_live(&live));
    assert_eq!(client.clusters(&token).await, 401);
    v2_error(&client.v2(&v2_refresh(&live)).await, 400, "invalid_grant");
}

/// If two requests race with one token, one wins, and the other ends the session.
#[tokio::test]
async fn a_race_is_a_reuse() {
    let (fake, client) = with_people().await;
    let token = fake.refresh_token_for(USER);
    let asked = refresh(&token);
    let (one, two) = tokio::join!(client.v1(&asked), client.v1(&asked));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    assert!(!fake.refresh_token_is_live("refresh-2"));
}

/// A lost answer has used the token up; a configured answer has not.
#[tokio::test]
async fn only_a_grant_uses_a_refresh_token_up() {
    let (fake, client) = with_people().await;
    let token = fake.refresh_token_for(USER);
    fake.on_token(Behaviour::status(503));
    assert_eq!(client.v1(&refresh(&token)).await.status, 503);
    assert!(fake.refresh_token_is_live(&token));
    fake.on_token(Behaviour::fault(Fault::Truncate(5)));
    let lost = client.v1(&refresh(&token)).await;
    assert!(!lost.complete);
    assert!(!fake.refresh_token_is_live(&token));
}

#[tokio::test]
async fn without_rotation_a_refresh_token_stays() {
    let fake = RunaiFake::builder()
        .rotate_refresh_tokens(false)
        .start()
        .await
        .expect("a port is free");
    let client = Client::new(&fake);
    let token = fake.refresh_token_for("test-user");
    for _ in 0..2 {
        let answer = client.v1(&refresh(&token)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["refreshToken"], "");
        let answer = client.v2(&v2_refresh(&token)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.json().get("refresh_token").is_none(), "{answer:?}");
        assert!(fake.refresh_token_is_live(&token));
    }
}

#[tokio::test]
async fn all_sessions_can_be_ended() {
    let (fake, client) = with_people().await;
    let application = client.token().await;
    let (token, refresh_token) = v1_pair(&client.v1(&log_in(PASSWORD)).await);
    let unused = fake.refresh_token_for("grace");
    fake.end_sessions();
    assert_eq!(client.clusters(&token).await, 401);
    for refresh_token in [&refresh_token, &unused] {
        assert!(!fake.refresh_token_is_live(refresh_token));
    }
    v1_error(
        &client.v1(&refresh(&refresh_token)).await,
        400,
        "Session not active",
    );
    assert_eq!(client.clusters(&application).await, 200);
    assert_eq!(client.v1(&log_in(PASSWORD)).await.status, 200);
}

#[tokio::test]
async fn a_refresh_token_expires_in_time() {
    let (fake, client) = with_people().await;
    let token = fake.refresh_token_for(USER);
    fake.advance_clock(Duration::from_secs(29 * 24 * 3600));
    assert!(fake.refresh_token_is_live(&token));
    fake.advance_clock(Duration::from_secs(24 * 3600));
    assert!(!fake.refresh_token_is_live(&token));
    v1_error(
        &client.v1(&refresh(&token)).await,
        400,
        "Session not active",
    );
}
