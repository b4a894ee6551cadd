//! Real places: a private CA, a forward proxy, a client certificate.

use std::{net::SocketAddr, sync::Arc};

use runai_auth::{ControlPlane, Credentials};
use runai_fake::RunaiFake;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

use crate::support::{APPLICATION, CLUSTERS, SECRET, chain};

/// A forward proxy that leads everything to one address, and remembers what it was asked.
async fn proxy(to: SocketAddr, answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://us%65r:p4ss@{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let log = log.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    stream.read_line(&mut head).await.unwrap();
                }
                log.lock().await.push(head);
                stream.write_all(answer.as_bytes()).await.unwrap();
                if answer.contains("200") {
                    let mut there = TcpStream::connect(to).await.unwrap();
                    // It ends when either side does, however that is.
                    let _ended = copy_bidirectional(&mut stream, &mut there).await;
                }
            });
        }
    });
    (url, asked)
}

async fn tls_fake(client_certificate: bool) -> RunaiFake {
    let builder = RunaiFake::builder()
        .application(APPLICATION, SECRET)
        .tls(true);
    builder
        .client_certificate(client_certificate)
        .start()
        .await
        .unwrap()
}

fn control_plane(fake: &RunaiFake, url: &str) -> ControlPlane {
    let pem = fake.ca_pem().unwrap().as_bytes();
    ControlPlane::new(url)
        .unwrap()
        .root_certificates_pem(pem)
        .unwrap()
}

/// Gets a token and makes a call with it.
async fn works(control_plane: ControlPlane) -> Result<(), runai_auth::BoxError> {
    let credentials = Credentials::client(APPLICATION, SECRET);
    let auth = control_plane.authenticate_with(credentials, |cache| cache.attempts(1));
    let request = http::Request::get(auth.url(CLUSTERS)?);
    let request = request.body(http_body_util::Full::<bytes::Bytes>::default())?;
    let response = tower::ServiceExt::oneshot(auth.client()?, request).await?;
    assert_eq!(response.status(), http::StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn e14_behind_a_forward_proxy_and_a_private_ca() {
    let fake = tls_fake(false).await;
    let (url, asked) = proxy(fake.addr(), "HTTP/1.1 200 OK\r\n\r\n").await;
    // The name leads nowhere but through the proxy.
    let there = "https://runai-fake.example";
    works(control_plane(&fake, there).proxy(&url).unwrap())
        .await
        .unwrap();
    let asked = asked.lock().await;
    assert!(
        asked[0].starts_with("CONNECT runai-fake.example:443 HTTP/1.1\r\n"),
        "{asked:?}"
    );
    // `user:p4ss`, decoded.
    assert!(
        asked[0]
            .to_lowercase()
            .contains("proxy-authorization: basic dxnlcjpwnhnz"),
        "{asked:?}"
    );
    assert_eq!((fake.token_requests(), fake.api_requests()), (1, 1));
    // This machine is reached straight.
    works(control_plane(&fake, fake.url()).proxy(&url).unwrap())
        .await
        .unwrap();
    assert_eq!(
        asked.len(),
        2,
        "one for the token, one for the call, and none after that"
    );
}

#[tokio::test]
async fn e14_a_proxy_that_refuses_is_named_without_its_password() {
    let fake = tls_fake(false).await;
    let (url, _) = proxy(
        fake.addr(),
        "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
    )
    .await;
    let through = control_plane(&fake, "https://runai-fake.example")
        .proxy(&url)
        .unwrap();
    assert!(!format!("{through:?}").contains("p4ss"));
    let error = works(through).await.unwrap_err();
    let text = chain(&*error);
    assert!(
        text.contains("the proxy 127.0.0.1:") && text.contains("did not connect"),
        "{text}"
    );
    assert!(!text.contains("p4ss") && !text.contains("us%65r"), "{text}");
}

#[tokio::test]
async fn e14_where_a_client_certificate_is_wanted() {
    let fake = tls_fake(true).await;
    let error = works(control_plane(&fake, fake.url())).await.unwrap_err();
    assert!(chain(&*error).contains("broke off"), "{}", chain(&*error));
    assert_eq!(fake.token_requests(), 0);
    let (certificate, key) = fake.client_certificate_pem().unwrap();
    let with = control_plane(&fake, fake.url())
        .client_certificate_pem(certificate.as_bytes(), key.as_bytes())
        .unwrap();
    assert!(!format!("{with:?}").contains(&key[40..80]));
    works(with).await.unwrap();
    let without_key = control_plane(&fake, fake.url())
        .client_certificate_pem(certificate.as_bytes(), certificate.as_bytes())
        .unwrap_err();
    assert!(
        without_key.to_string().contains("no private key"),
        "{without_key}"
    );
}
