//! Expiry and refresh ahead.

use http::StatusCode;
use runai_auth::tower_bearer::Reason;
use runai_fake::{Behaviour, TokenShape};

use crate::support::{CLUSTERS, setup};

#[tokio::test]
async fn b01_in_the_window_no_request_waits() {
    let setup = setup().await;
    setup.get(CLUSTERS).await.unwrap();
    setup.advance(2971);
    let gate = setup.fake.hold_token();
    for _ in 0..20 {
        assert_eq!(setup.get(CLUSTERS).await.unwrap().status, StatusCode::OK);
    }
    gate.reached().await;
    gate.release();
    setup
        .until("the second token", |auth| {
            auth.status().generation == Some(2)
        })
        .await;
    setup.get(CLUSTERS).await.unwrap();
    let generations: Vec<_> = setup
        .fake
        .journal()
        .iter()
        .filter(|it| it.path == CLUSTERS)
        .filter_map(|it| it.generation)
        .collect();
    assert_eq!(generations, [[1; 21].as_slice(), &[2]].concat());
    let counts = setup.auth.status().counts;
    assert_eq!((counts.waits, counts.refreshes.of(Reason::Ahead)), (1, 1));
}

#[tokio::test]
async fn b05_tokens_of_a_few_seconds_do_not_cost_a_fetch_per_request() {
    for lifetime in [10, 2, 1] {
        let setup = setup().await;
        setup
            .fake
            .set_token_lifetime(std::time::Duration::from_secs(lifetime));
        for _ in 0..50 {
            assert_eq!(setup.get(CLUSTERS).await.unwrap().status, StatusCode::OK);
        }
        assert_eq!(setup.fake.token_requests(), 1, "{lifetime} s");
    }
}

#[tokio::test]
async fn an_expired_token_is_never_sent() {
    let setup = setup().await;
    setup.get(CLUSTERS).await.unwrap();
    setup.advance(3600);
    assert_eq!(setup.get(CLUSTERS).await.unwrap().status, StatusCode::OK);
    let journal = setup.fake.journal();
    assert!(journal.iter().all(|it| it.status == Some(200)));
    assert_eq!(setup.fake.token_requests(), 2);
}

#[tokio::test]
async fn b11_b13_the_lifetime_is_read_from_whatever_states_it() {
    for (shape, expires_in) in [
        // The JWT's `exp`, less the answer's `Date`.
        (None, 3570),
        (Some(TokenShape::Lifetime(300)), 270),
        // `expiresIn`, though the JWT says more.
        (Some(TokenShape::ExpiresIn(100.into())), 90),
        (Some(TokenShape::ExpiresIn("100".into())), 90),
        // The JWT, though `expiresIn` says more.
        (Some(TokenShape::ExpiresIn(86_400.into())), 3570),
        // Neither: five minutes.
        (Some(TokenShape::NoExp), 270),
        (Some(TokenShape::Raw("opaque-._~+/=".into())), 270),
        (Some(TokenShape::Raw("e30.4pyT77iP.c2ln".into())), 270),
    ] {
        let setup = setup().await;
        if let Some(shape) = shape.clone() {
            setup.fake.on_token(Behaviour::token(shape));
        }
        assert_eq!(
            setup.get(CLUSTERS).await.unwrap().status,
            StatusCode::OK,
            "{shape:?}"
        );
        let left = setup.auth.status().expires_in.unwrap().as_secs();
        // The fake's clock may tick between its two looks at it.
        assert!(
            (expires_in - 1..=expires_in).contains(&left),
            "{shape:?}: {left}"
        );
    }
}

#[tokio::test]
async fn c04_a_control_plane_whose_clock_is_wrong_does_no_harm() {
    for offset in [-600, 600, -86_400, 86_400] {
        let setup = setup().await;
        setup.fake.set_clock_offset(offset);
        for _ in 0..10 {
            assert_eq!(
                setup.get(CLUSTERS).await.unwrap().status,
                StatusCode::OK,
                "{offset}"
            );
        }
        assert_eq!(setup.fake.token_requests(), 1);
        let left = setup.auth.status().expires_in.unwrap().as_secs();
        assert!((3569..=3570).contains(&left), "{offset}: {left}");
    }
}

#[tokio::test]
async fn b08_a_token_that_arrives_expired_is_a_failure() {
    let setup = setup().await;
    setup.fake.on_token(Behaviour::token(TokenShape::Expired));
    let error = setup.get(CLUSTERS).await.unwrap_err();
    assert!(
        crate::support::chain(&*error).contains("has expired already"),
        "{error}"
    );
    assert_eq!(setup.fake.api_requests(), 0);
}
