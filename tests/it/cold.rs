//! Cold start and concurrency.

use futures_util::future::join_all;
use http::StatusCode;
use runai_auth::tower_bearer::Kind;
use runai_fake::Behaviour;

use crate::support::{BOTH, CLUSTERS, chain, kind, setup, setup_over};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a01_a_thousand_first_requests_cost_one_fetch() {
    for wire in BOTH {
        let setup = setup_over(wire).await;
        let gate = setup.fake.hold_token();
        let released = async {
            gate.reached().await;
            setup
                .until("1000 callers wait", |auth| {
                    auth.status().counts.waits == 1000
                })
                .await;
            gate.release();
        };
        let (answers, ()) =
            tokio::join!(join_all((0..1000).map(|_| setup.get(CLUSTERS))), released);
        for answer in answers {
            assert_eq!(answer.unwrap().status, StatusCode::OK);
        }
        assert_eq!(setup.fake.token_requests(), 1, "{wire:?}");
        let journal = setup.fake.journal();
        assert_eq!(
            journal
                .iter()
                .filter(|it| it.path == CLUSTERS && it.generation == Some(1))
                .count(),
            1000
        );
    }
}

#[tokio::test]
async fn a02_a_failed_first_refresh_is_one_request_and_one_error_for_all() {
    let setup = setup().await;
    let gate = setup.fake.hold_token();
    let released = async {
        gate.reached().await;
        setup
            .until("100 callers wait", |auth| auth.status().counts.waits == 100)
            .await;
        gate.release_with(Behaviour::status(503));
    };
    let (answers, ()) = tokio::join!(join_all((0..100).map(|_| setup.get(CLUSTERS))), released);
    for answer in answers {
        let error = answer.unwrap_err();
        assert_eq!(*kind(&error), Kind::Unavailable);
        assert!(chain(&*error).contains("(503, \"Please try again in few minutes.\")"));
    }
    assert_eq!(
        (setup.fake.token_requests(), setup.fake.api_requests()),
        (1, 0)
    );
    setup.advance(1);
    assert_eq!(setup.get(CLUSTERS).await.unwrap().status, StatusCode::OK);
    assert_eq!(setup.fake.token_requests(), 2);
}

#[tokio::test]
async fn a03_the_refresh_outlives_the_request_that_began_it() {
    let setup = setup().await;
    let gate = setup.fake.hold_token();
    {
        let leader = std::pin::pin!(setup.get(CLUSTERS));
        let reached = std::pin::pin!(gate.reached());
        // The leader is dropped once its refresh has reached the control plane.
        futures_util::future::select(leader, reached).await;
    }
    let follower = setup.get(CLUSTERS);
    let released = async {
        setup
            .until("2 callers wait", |auth| auth.status().counts.waits == 2)
            .await;
        gate.release();
    };
    let (answer, ()) = tokio::join!(follower, released);
    assert_eq!(answer.unwrap().status, StatusCode::OK);
    assert_eq!(setup.fake.token_requests(), 1);
}

#[tokio::test]
async fn a09_ten_clients_and_a_hundred_clones_share_one_refresh() {
    let setup = setup().await;
    let clients: Vec<_> = (0..10)
        .map(|_| setup.auth.clone().client().unwrap())
        .collect();
    let requests = (0..100).map(|n| {
        let request = http::Request::get(setup.auth.url(CLUSTERS).unwrap());
        let request = request
            .body(http_body_util::Full::<bytes::Bytes>::default())
            .unwrap();
        tower::ServiceExt::oneshot(clients[n % 10].clone(), request)
    });
    for response in join_all(requests).await {
        assert_eq!(response.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(setup.fake.token_requests(), 1);
}
