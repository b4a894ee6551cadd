//! Real places: a private CA, a forward proxy, a client certificate.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use runai_auth::{Auth, ControlPlane, Credentials, tower_bearer::clock::ManualClock};
use runai_fake::RunaiFake;
use test_support::{Scratch, wait_for};
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

fn on_clock(control_plane: &ControlPlane, clock: &ManualClock) -> Auth {
    let (control_plane, clock) = (control_plane.clone(), clock.clone());
    let credentials = Credentials::client(APPLICATION, SECRET);
    control_plane.authenticate_with(credentials, |cache| cache.attempts(1).clock(clock))
}

/// Waits until the files have been read again: once a second at most, by the machine's own clock.
async fn soon_works(control_plane: &ControlPlane, auth: &Auth, clock: &ManualClock) {
    wait_for("a token over the new files", async || {
        // Beyond any backoff.
        clock.advance(Duration::from_secs(600));
        auth.cache().token().await.is_ok()
    })
    .await;
    works(control_plane.clone()).await.unwrap();
}

#[tokio::test]
async fn e14_a_ca_file_that_is_replaced_is_used_for_new_connections() {
    let (old, new) = (tls_fake(false).await, tls_fake(false).await);
    let folder = Scratch::new();
    let path = folder.write("ca.pem", old.ca_pem().unwrap());
    let control_plane = ControlPlane::new(new.url())
        .unwrap()
        .root_certificates_file(&path)
        .unwrap();
    let clock = ManualClock::new();
    let auth = on_clock(&control_plane, &clock);
    // A client that makes its first connection after the change follows too.
    let api = auth
        .client::<http_body_util::Empty<bytes::Bytes>>()
        .unwrap();
    let text = chain(&auth.cache().token().await.unwrap_err());
    assert!(
        text.contains("is not trusted: if its CA is a private one"),
        "{text}"
    );
    // A broken file changes nothing.
    folder.write("ca.pem", "-----BEGIN CERTIFICATE-----\n");
    clock.advance(Duration::from_secs(600));
    assert!(auth.cache().token().await.is_err());
    folder.write("ca.pem", new.ca_pem().unwrap());
    soon_works(&control_plane, &auth, &clock).await;
    let request = http::Request::get(auth.url(CLUSTERS).unwrap());
    let request = request.body(http_body_util::Empty::new()).unwrap();
    let response = tower::ServiceExt::oneshot(api, request).await.unwrap();
    assert_eq!(response.status(), http::StatusCode::OK);
}

#[tokio::test]
async fn e14_client_certificate_files_that_are_replaced_are_used_for_new_connections() {
    let (other, fake) = (tls_fake(true).await, tls_fake(true).await);
    let folder = Scratch::new();
    let put = |fake: &RunaiFake| {
        let (chain, key) = fake.client_certificate_pem().unwrap();
        (folder.write("tls.crt", chain), folder.write("tls.key", key))
    };
    let (chain_file, key_file) = put(&other);
    let control_plane = control_plane(&fake, fake.url())
        .client_certificate_files(chain_file, key_file)
        .unwrap();
    let clock = ManualClock::new();
    let auth = on_clock(&control_plane, &clock);
    auth.cache().token().await.unwrap_err();
    put(&fake);
    soon_works(&control_plane, &auth, &clock).await;
}

#[tokio::test]
async fn files_that_do_not_hold_what_they_should_are_an_error_at_once() {
    let fake = tls_fake(true).await;
    let folder = Scratch::new();
    let (chain_pem, key_pem) = fake.client_certificate_pem().unwrap();
    let (_, other_key) = fake.server_certificate_pem().unwrap();
    let chain_file = folder.write("tls.crt", chain_pem);
    let key_file = folder.write("tls.key", key_pem);
    let other_file = folder.write("other.key", other_key);
    let nothing = folder.write("nothing.pem", "nothing\n");
    let plane = || ControlPlane::new(fake.url()).unwrap();
    for (error, says) in [
        (
            plane()
                .root_certificates_file(folder.path("x"))
                .unwrap_err(),
            "x does not exist",
        ),
        (
            plane().root_certificates_file(&nothing).unwrap_err(),
            "has no certificate",
        ),
        (
            plane()
                .client_certificate_files(&chain_file, &nothing)
                .unwrap_err(),
            "nothing.pem has no private key (there is none)",
        ),
        (
            plane()
                .client_certificate_files(&key_file, &key_file)
                .unwrap_err(),
            "tls.key has no certificate",
        ),
        (
            plane()
                .client_certificate_files(&chain_file, &other_file)
                .unwrap_err(),
            "tls.crt is not the certificate of that key",
        ),
        (
            plane()
                .client_certificate_pem(chain_pem.as_bytes(), other_key.as_bytes())
                .unwrap_err(),
            "the client certificate: the PEM is not the certificate of that key",
        ),
    ] {
        assert!(error.message().ends_with(says), "{error}");
    }
}

#[tokio::test]
async fn certificates_are_skipped_where_that_was_asked_for_only() {
    let fake = tls_fake(false).await;
    let plane = ControlPlane::new(fake.url()).unwrap();
    works(plane.clone()).await.unwrap_err();
    works(plane.danger_accept_invalid_certificates())
        .await
        .unwrap();
}

/// Leads one address to another, byte for byte.
async fn relay(from: &str, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(from).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut there = TcpStream::connect(to).await.unwrap();
                // It ends when either side does, however that is.
                let _ended = copy_bidirectional(&mut stream, &mut there).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn over_ipv6_and_with_slashes_at_the_end() {
    let fake = RunaiFake::builder()
        .application(APPLICATION, SECRET)
        .start()
        .await
        .unwrap();
    let address = relay("[::1]:0", fake.addr()).await;
    works(ControlPlane::new(&format!("http://{address}//")).unwrap())
        .await
        .unwrap();
    let fake = tls_fake(false).await;
    let address = relay("[::1]:0", fake.addr()).await;
    works(control_plane(&fake, &format!("https://{address}/api/v1/")))
        .await
        .unwrap();
}

/// A reverse proxy that serves the control plane below a path.
#[tokio::test]
async fn below_a_path_of_a_reverse_proxy() {
    use hyper_util::{
        client::legacy::Client,
        rt::{TokioExecutor, TokioIo},
    };
    let fake = RunaiFake::builder()
        .application(APPLICATION, SECRET)
        .start()
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/runai/", listener.local_addr().unwrap());
    let upstream = fake.url().to_owned();
    let client: Client<_, hyper::body::Incoming> =
        Client::builder(TokioExecutor::new()).build_http();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (client, upstream) = (client.clone(), upstream.clone());
            let service = hyper::service::service_fn(move |mut request: http::Request<_>| {
                let (client, upstream) = (client.clone(), upstream.clone());
                let path = request
                    .uri()
                    .path()
                    .strip_prefix("/runai")
                    .unwrap_or("/elsewhere");
                *request.uri_mut() = format!("{upstream}{path}").parse().unwrap();
                async move { client.request(request).await }
            });
            let io = TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    works(ControlPlane::new(&url).unwrap()).await.unwrap();
    assert!(
        fake.journal()
            .iter()
            .all(|it| it.path.starts_with("/api/v1/"))
    );
}
