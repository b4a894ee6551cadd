//! The contents of the journal.

use runai_fake::{Behaviour, Kind};
use test_support::within;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::client::{Client, ID, SECRET, start};

#[tokio::test]
async fn an_exchange_describes_its_request() {
    let fake = start().await;
    let client = Client::new(&fake);
    let token = client.token().await;
    client.get("/api/v1/clusters?verbosity=full", &token).await;
    client.get("/api/v1/clusters", "unknown").await;
    let journal = fake.journal();
    assert_eq!((fake.token_requests(), fake.api_requests()), (1, 2));

    let asked = &journal[0];
    assert_eq!((asked.seq, asked.kind), (0, Kind::Token));
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("POST", "/api/v1/token")
    );
    assert_eq!(asked.query, None);
    assert!(asked.body_complete);
    let body: serde_json::Value = serde_json::from_slice(&asked.body).expect("it is JSON");
    assert_eq!(body["AppSecret"], SECRET);
    assert_eq!(
        (asked.generation, asked.client.as_deref()),
        (Some(1), Some(ID))
    );
    assert_eq!((asked.status, asked.bearer()), (Some(200), None));

    let used = &journal[1];
    assert_eq!((used.seq, used.kind), (1, Kind::Api));
    assert_eq!(used.query.as_deref(), Some("verbosity=full"));
    assert_eq!(
        (used.generation, used.client.as_deref()),
        (Some(1), Some(ID))
    );
    assert_eq!(
        (used.status, used.bearer()),
        (Some(200), Some(token.as_str()))
    );
    assert_eq!(used.connection, asked.connection);
    assert!(used.at >= asked.at);

    let stranger = &journal[2];
    assert_eq!((stranger.generation, stranger.status), (None, Some(401)));

    let issued = fake.issued();
    assert_eq!((issued.len(), issued[0].generation), (1, 1));
    assert_eq!(
        (&issued[0].client, &issued[0].token),
        (&ID.to_owned(), &token)
    );
}

#[tokio::test]
async fn another_client_is_another_connection() {
    let fake = start().await;
    Client::new(&fake).token().await;
    Client::new(&fake).token().await;
    let journal = fake.journal();
    assert_ne!(journal[0].connection, journal[1].connection);
}

#[tokio::test]
async fn a_revoked_token_still_has_its_generation() {
    let fake = start().await;
    let client = Client::new(&fake);
    let token = client.token().await;
    fake.revoke_all();
    client.clusters(&token).await;
    let journal = fake.journal();
    assert_eq!(
        (journal[1].generation, journal[1].status),
        (Some(1), Some(401))
    );
}

/// An answer that comes after the journal was cleared must not be written to another request's entry.
#[tokio::test]
async fn a_late_answer_does_not_change_another_entry() {
    let fake = start().await;
    let client = Client::new(&fake);
    let gate = fake.hold_api();
    let late = tokio::spawn({
        let client = client.clone();
        async move { client.clusters("").await }
    });
    within(gate.reached()).await;
    fake.clear_journal();
    client.token().await;
    gate.release_with(Behaviour::status(418));
    assert_eq!(late.await.expect("it does not panic"), 418);
    let journal = fake.journal();
    assert_eq!(journal.len(), 1);
    assert_eq!(journal[0].path, "/api/v1/token");
    assert_eq!(journal[0].status, Some(200));
}

/// If a client breaks off, the journal keeps what it had sent.
#[tokio::test]
async fn half_a_body_is_kept() {
    let fake = start().await;
    let mut stream = TcpStream::connect(fake.addr()).await.expect("it listens");
    let request = b"POST /api/v1/token HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123";
    stream.write_all(request).await.expect("it reads");
    within(fake.wait_for(|journal| journal.len() == 1)).await;
    drop(stream);
    within(fake.wait_for(|journal| journal.iter().any(|it| it.body == "0123"))).await;
    let exchange = &fake.journal()[0];
    assert_eq!((exchange.body_complete, exchange.status), (false, None));
}

#[tokio::test]
async fn a_token_request_of_more_than_a_mebibyte_is_rejected() {
    let fake = start().await;
    let client = Client::new(&fake);
    let json = [("content-type", "application/json")];
    let sent = client.send("POST", "/api/v1/token", &json, vec![b' '; (1 << 20) + 1]);
    let answer = sent.await.expect("an answer comes");
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["code"], 413);
}
