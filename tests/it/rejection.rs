//! What a rejected token costs.

use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::Full;
use runai_fake::{Behaviour, Fault};

use crate::support::{APPLICATION, BOTH, CLUSTERS, SUBMIT, bare, setup, setup_over};

#[tokio::test]
async fn d01_a_revoked_token_is_replaced_inside_the_request() {
    for wire in BOTH {
        let setup = setup_over(wire).await;
        setup.get(CLUSTERS).await.unwrap();
        setup.fake.revoke_all();
        let answer = setup.get(CLUSTERS).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.not_retried(), None);
        assert_eq!(
            (setup.fake.token_requests(), setup.fake.api_requests()),
            (2, 3),
            "{wire:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d02_a_hundred_rejected_requests_cost_one_fetch() {
    for wire in BOTH {
        let setup = setup_over(wire).await;
        setup.get(CLUSTERS).await.unwrap();
        let gate = setup.fake.hold_api_requests(100);
        let revoked = async {
            gate.reached_by(100).await;
            setup.fake.revoke_all();
            gate.release();
        };
        let (answers, ()) = tokio::join!(join_all((0..100).map(|_| setup.get(CLUSTERS))), revoked);
        for answer in answers {
            assert_eq!(answer.unwrap().status, StatusCode::OK);
        }
        assert_eq!(
            (setup.fake.token_requests(), setup.fake.api_requests()),
            (2, 201),
            "{wire:?}"
        );
        assert_eq!(setup.auth.status().counts.retries, 100);
    }
}

#[tokio::test]
async fn d03_a_late_rejection_costs_no_fetch() {
    let setup = setup().await;
    setup.get(CLUSTERS).await.unwrap();
    let gate = setup.fake.hold_api();
    let refreshed = async {
        gate.reached().await;
        setup.fake.revoke_all();
        setup.get(CLUSTERS).await.unwrap();
        assert_eq!(setup.fake.token_requests(), 2);
        gate.release();
    };
    let (late, ()) = tokio::join!(setup.get(CLUSTERS), refreshed);
    assert_eq!(late.unwrap().status, StatusCode::OK);
    assert_eq!(setup.fake.token_requests(), 2);
    assert_eq!(setup.auth.status().generation, Some(2));
}

#[tokio::test]
async fn d06_the_second_rejection_reaches_the_caller_whole() {
    let setup = setup().await;
    setup.get(CLUSTERS).await.unwrap();
    let no = |text: &str| {
        Behaviour::status(401)
            .header("x-which", text)
            .body("text/plain", text)
    };
    setup.fake.on_api(no("first"));
    setup.fake.on_api(no("second"));
    let answer = setup.get(CLUSTERS).await.unwrap();
    assert_eq!(
        (answer.status, answer.body.as_ref()),
        (StatusCode::UNAUTHORIZED, b"second".as_ref())
    );
    assert_eq!(answer.headers["x-which"], "second");
    assert_eq!(
        answer.not_retried().unwrap(),
        "another token was rejected too"
    );
    assert_eq!(
        (setup.fake.token_requests(), setup.fake.api_requests()),
        (2, 3)
    );
}

#[tokio::test]
async fn d08_while_the_token_endpoint_is_down_the_rejection_is_returned() {
    let setup = setup().await;
    setup.get(CLUSTERS).await.unwrap();
    setup.fake.revoke_all();
    setup
        .fake
        .always_on_token(Some(Behaviour::fault(Fault::Reset)));
    let answer = setup.get(CLUSTERS).await.unwrap();
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(
        answer.body.starts_with(b"{\"code\":401"),
        "{:?}",
        answer.body
    );
    let why = answer.not_retried().unwrap();
    assert!(why.contains("broke off"), "{why}");
    assert_eq!(
        setup.fake.api_requests(),
        2,
        "the rejected token is not sent again"
    );
}

#[tokio::test]
async fn d09_without_an_access_rule_the_403_passes() {
    let setup = setup().await;
    setup.get(CLUSTERS).await.unwrap();
    assert!(setup.fake.drop_access_rule(APPLICATION));
    let answer = setup.get(CLUSTERS).await.unwrap();
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.stamped.is_none());
    assert_eq!(
        (setup.fake.token_requests(), setup.fake.api_requests()),
        (1, 2)
    );
}

#[tokio::test]
async fn d17_what_is_sent_again_is_identical() {
    for wire in BOTH {
        let setup = setup_over(wire).await;
        setup.get(CLUSTERS).await.unwrap();
        setup.fake.revoke_all();
        let body = format!("{{\"name\":\"w\",\"padding\":\"{}\"}}", "x".repeat(60_000));
        let request = Request::post(setup.auth.url(&format!("{SUBMIT}?a=%20b&c")).unwrap())
            .header("content-type", "application/json")
            .header("x-twice", "1")
            .header("x-twice", "2")
            .body(Full::from(body.clone()))
            .unwrap();
        let answer = setup.send(request).await.unwrap();
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert_eq!(answer.headers["x-received-bytes"], body.len().to_string());
        let journal = setup.fake.journal();
        let sent: Vec<_> = journal.iter().filter(|it| it.path == SUBMIT).collect();
        let [first, again] = sent[..] else {
            panic!("{} were sent", sent.len());
        };
        assert_eq!((first.status, again.status), (Some(401), Some(202)));
        assert_eq!(first.body, body);
        assert_eq!(first.body, again.body);
        assert_eq!(
            (&first.method, &first.query, first.version),
            (&again.method, &again.query, again.version)
        );
        assert_eq!(bare(&first.headers), bare(&again.headers), "{wire:?}");
        assert_ne!(first.bearer(), again.bearer());
    }
}

#[tokio::test]
async fn e12_a_rotated_signing_key_costs_one_fetch() {
    let setup = setup().await;
    setup.get(CLUSTERS).await.unwrap();
    setup.fake.rotate_signing_key();
    for answer in join_all((0..50).map(|_| setup.get(CLUSTERS))).await {
        assert_eq!(answer.unwrap().status, StatusCode::OK);
    }
    assert_eq!(setup.fake.token_requests(), 2);
}
