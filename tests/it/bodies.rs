//! Bodies that are streams.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{Channel, StreamBody};
use runai_auth::{Client, Stamped};
use runai_fake::Behaviour;
use tower::ServiceExt;

use crate::support::{BOTH, CLUSTERS, SUBMIT, setup_over};

#[tokio::test]
async fn d16_a_stream_beyond_the_cap_is_sent_once_and_heals_the_next() {
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
        let stamped = response.extensions().get::<Stamped>().unwrap();
        assert_eq!(
            stamped.unhealed().unwrap().to_string(),
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
