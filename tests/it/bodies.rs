//! Bodies that are streams.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Channel, Full, StreamBody};
use runai_auth::{AuthOutcome, Client};
use runai_fake::Behaviour;
use tower::ServiceExt;

use crate::support::{BOTH, CLUSTERS, SUBMIT, Wire, setup_over};

#[tokio::test]
async fn d16_a_stream_beyond_the_cap_is_sent_once_and_its_rejection_helps_the_next() {
    for wire in BOTH {
        let setup = setup_over(wire).await;
        setup.get(CLUSTERS).await.unwrap();
        setup.fake.revoke_all();
        let frames =
            (0..16).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b' '; 8192]))));
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let api: Client<_> = setup.auth.client().unwrap();
        let request = Request::post(setup.auth.url(SUBMIT).unwrap())
            .body(body)
            .unwrap();
        let response = api.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let stamped = response.extensions().get::<AuthOutcome>().unwrap();
        assert_eq!(
            stamped.not_retried().unwrap().to_string(),
            "the request's body is larger than what is kept for a retry"
        );
        assert_eq!(setup.get(CLUSTERS).await.unwrap().status, StatusCode::OK);
        let journal = setup.fake.journal();
        let uploads: Vec<_> = journal.iter().filter(|it| it.path == SUBMIT).collect();
        assert_eq!(uploads.len(), 1, "{wire:?}");
        assert_eq!(uploads[0].body.len(), 16 * 8192);
        assert_eq!(setup.fake.token_requests(), 2);
    }
}

#[tokio::test]
async fn d18_a_body_that_was_not_fully_sent_is_taken_back() {
    for wire in BOTH {
        let setup = setup_over(wire).await;
        setup.get(CLUSTERS).await.unwrap();
        setup
            .fake
            .on_api(Behaviour::status(401).without_reading_body());
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
        let api: Client<_> = setup.auth.client().unwrap();
        let request = Request::post(setup.auth.url(SUBMIT).unwrap())
            .body(body)
            .unwrap();
        let upload = async {
            sender
                .send_data(Bytes::from_static(b"{\"name\":"))
                .await
                .unwrap();
            // The rest comes only after the request was sent again.
            setup
                .fake
                .wait_for(|journal| journal.iter().filter(|it| it.path == SUBMIT).count() == 2)
                .await;
            sender
                .send_data(Bytes::from_static(b"\"taken back\"}"))
                .await
                .unwrap();
            drop(sender);
        };
        let (response, ()) = tokio::join!(api.oneshot(request), upload);
        assert_eq!(response.unwrap().status(), StatusCode::ACCEPTED, "{wire:?}");
        let journal = setup.fake.journal();
        let again = journal.iter().rfind(|it| it.path == SUBMIT).unwrap();
        assert_eq!(again.body, "{\"name\":\"taken back\"}", "{wire:?}");
    }
}

const KIB: usize = 1024;

/// A rejection before the body was read, or after it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rejected {
    Early,
    Late,
}

#[tokio::test]
async fn d17_every_size_arrives_whole_or_not_at_all() {
    for wire in BOTH {
        for size in [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 10 * KIB * KIB] {
            for known in [true, false] {
                for rejected in [Rejected::Early, Rejected::Late] {
                    replayed_whole_or_not_at_all(wire, size, known, rejected).await;
                }
            }
        }
    }
}

async fn replayed_whole_or_not_at_all(wire: Wire, size: usize, known: bool, rejected: Rejected) {
    let what = format!("{wire:?}, {size} bytes, length known: {known}, {rejected:?}");
    let setup = setup_over(wire).await;
    setup.get(CLUSTERS).await.unwrap();
    let no = Behaviour::status(401);
    setup.fake.on_api(match rejected {
        Rejected::Early => no.without_reading_body(),
        Rejected::Late => no,
    });
    let content: Bytes = (0..size).map(|at| (at % 251) as u8).collect();
    let body = match known {
        true => Full::new(content.clone()).boxed(),
        false => {
            let pieces: Vec<_> = content.chunks(5000).map(Bytes::copy_from_slice).collect();
            let frames = pieces
                .into_iter()
                .map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
            StreamBody::new(futures_util::stream::iter(frames)).boxed()
        }
    };
    let api: Client<_> = setup.auth.client().unwrap();
    let request = Request::post(setup.auth.url(SUBMIT).unwrap())
        .body(body)
        .unwrap();
    let answer = api.oneshot(request).await;
    let journal = setup.fake.journal();
    let sent: Vec<_> = journal.iter().filter(|it| it.path == SUBMIT).collect();
    let response = match answer {
        Ok(response) => response,
        // A server that answers early may break the connection under a body that was not kept.
        Err(error) => {
            assert!(
                rejected == Rejected::Early && size > 64 * KIB,
                "{what}: {error}"
            );
            assert_eq!(sent.len(), 1, "{what}");
            return;
        }
    };
    let stamped = response.extensions().get::<AuthOutcome>().unwrap();
    if size <= 64 * KIB {
        assert!(stamped.retried(), "{what}");
    }
    if stamped.retried() {
        assert_eq!(sent.len(), 2, "{what}");
        assert!(sent[1].body == content, "{what}");
        assert_ne!(response.status(), StatusCode::UNAUTHORIZED, "{what}");
    } else {
        assert_eq!(sent.len(), 1, "{what}");
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{what}");
    }
}
