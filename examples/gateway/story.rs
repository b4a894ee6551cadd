//! The gateway's story: callers without a token, and a control plane that misbehaves.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderMap, Response, StatusCode, header},
};
use bytes::Bytes;
use futures_util::{future::join_all, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use runai_auth::{BoxError, ControlPlane, Credentials};
use runai_fake::{Behaviour, Exchange, Fault, Kind, RunaiFake};
use tokio::{net::TcpListener, time::sleep};

use crate::Gateway;

/// The credentials of the story's callers.
const CALLER: &str = "Bearer the-callers-own";
const CLUSTERS: &str = "/api/v1/clusters";
const TRAININGS: &str = "/api/v1/workloads/trainings";
const PIECE: usize = 64 * 1024;
const PIECES: usize = 64;

/// Plays the story: the fake, gateways before it, and callers that have neither a token nor TLS.
pub(crate) async fn play() -> Result<(), BoxError> {
    let fake = RunaiFake::builder()
        .application("gateway", "s3cr3t")
        .tls(true)
        .start()
        .await?;
    let caller = Caller::new(&fake, "s3cr3t").await?;
    println!("a gateway at {} calls {}", caller.gateway, fake.url());
    caller
        .expect("GET /readyz", "/readyz", Body::empty(), 200)
        .await?;

    caller
        .expect("a list", CLUSTERS, Body::empty(), 200)
        .await?;
    let sent = last(&fake, CLUSTERS)?;
    let headers = &sent.headers;
    let bearer = format!("Bearer {}", fake.issued().first().ok_or("no token")?.token);
    let replaced = headers
        .get(header::AUTHORIZATION)
        .is_some_and(|it| *it == *bearer);
    let kept = [header::COOKIE.as_str(), "x-for-this-hop", "keep-alive"];
    hold(
        replaced && kept.iter().all(|name| !headers.contains_key(*name)),
        "the caller's own headers stay in the gateway",
    )?;
    println!(
        "  the caller's Authorization was replaced, its Cookie and hop-by-hop headers were removed"
    );

    let training = r#"{"name":"a-training","projectId":"4500001","spec":{"image":"busybox"}}"#;
    caller
        .expect("a submission", TRAININGS, training.into(), 202)
        .await?;
    hold(
        last(&fake, TRAININGS)?.body == training,
        "it arrives as it was sent",
    )?;

    let accepted = caller
        .expect("an upload", TRAININGS, upload(&fake), 202)
        .await?;
    println!(
        "  {} bytes, the second half sent after the control plane had seen the head",
        accepted.header("x-received-bytes")
    );
    hold(
        accepted.header("x-received-bytes").parse::<usize>()? > PIECE * PIECES,
        "the whole upload arrives",
    )?;
    fake.on_api(Behaviour::huge(8 << 20));
    let download = caller
        .expect("a download", CLUSTERS, Body::empty(), 200)
        .await?;
    hold(
        download.body.len() == 8 << 20,
        "the whole download comes back",
    )?;
    println!("  {} bytes", download.body.len());

    fake.on_api(Behaviour::fault(Fault::SilenceAfterHeaders));
    let watch = caller.send(CLUSTERS, Body::empty()).await?;
    println!("a watch whose body is still to come: {}", watch.status());
    hold(
        watch.status() == StatusCode::OK,
        "its head does not wait for the body",
    )?;
    drop(watch);

    let rejections = || {
        let journal = fake.journal().into_iter();
        let rejected = journal.filter(|it| it.kind == Kind::Api && it.status == Some(401));
        rejected.count()
    };
    let calls = join_all((0..8).map(|nth| {
        let (fake, caller) = (&fake, &caller);
        async move {
            for call in 0..25 {
                if (nth, call) == (0, 12) {
                    fake.revoke_all();
                }
                let answer = caller.call(CLUSTERS, Body::empty()).await?;
                hold(
                    answer.status == StatusCode::OK,
                    "no caller sees that the token was revoked",
                )?;
            }
            Ok::<_, BoxError>(())
        }
    }));
    calls.await.into_iter().collect::<Result<(), _>>()?;
    let retried = rejections();
    println!("200 calls, the token revoked in the middle: {retried} retried, all answered 200");
    hold(retried > 0, "the revoked token is noticed")?;

    fake.revoke_all();
    let again = caller
        .expect(
            "an upload, the token revoked before",
            TRAININGS,
            upload(&fake),
            503,
        )
        .await?;
    again.tell();
    caller
        .expect("  the same again", TRAININGS, upload(&fake), 202)
        .await?;

    fake.on_api(Behaviour::fault(Fault::Reset));
    let reset = caller
        .expect("a connection that breaks", CLUSTERS, Body::empty(), 502)
        .await?;
    reset.tell();

    fake.always_on_token(Some(Behaviour::fault(Fault::Reset)));
    let other = Caller::new(&fake, "s3cr3t").await?;
    println!("a second gateway starts while the token endpoint is down");
    let down = other.expect("a list", CLUSTERS, Body::empty(), 503).await?;
    down.tell();
    hold(
        down.header("retry-after").parse::<u64>()? > 0,
        "the answer tells when to come back",
    )?;
    other
        .expect("GET /readyz", "/readyz", Body::empty(), 503)
        .await?
        .tell();
    fake.always_on_token(None);
    while other.call("/readyz", Body::empty()).await?.status != StatusCode::OK {
        sleep(Duration::from_millis(50)).await;
    }
    println!("the endpoint is up: GET /readyz is 200 again, without a call");
    other.expect("a list", CLUSTERS, Body::empty(), 200).await?;

    let wrong = Caller::new(&fake, "not the secret").await?;
    println!("a third gateway has a wrong secret");
    let invalid = wrong.expect("a list", CLUSTERS, Body::empty(), 502).await?;
    invalid.tell();
    hold(
        !invalid.text().contains("not the secret"),
        "the answer contains no secret",
    )?;
    wrong
        .expect("GET /readyz", "/readyz", Body::empty(), 503)
        .await?;

    let seen = fake
        .journal()
        .iter()
        .any(|it| it.headers.values().any(|value| *value == *CALLER));
    hold(!seen, "no caller's credentials reach the control plane")?;
    println!(
        "summary: token_fetches={} rejected={} caller_credentials_forwarded=0",
        fake.token_requests(),
        rejections()
    );
    Ok(())
}

/// Returns a JSON text of some megabytes in pieces. The second half waits until the control plane has seen the
/// head.
fn upload(fake: &RunaiFake) -> Body {
    let fake = fake.clone();
    Body::from_stream(stream::unfold(0, move |sent| {
        let fake = fake.clone();
        async move {
            let piece = match sent {
                0 => Bytes::from_static(br#"{"name":"big","padding":""#),
                1..=PIECES => Bytes::from(vec![b'x'; PIECE]),
                _ if sent == PIECES + 1 => Bytes::from_static(br#""}"#),
                _ => return None,
            };
            if sent == PIECES / 2 {
                let arriving = |it: &Exchange| it.path == TRAININGS && !it.body_complete;
                fake.wait_for(|journal| journal.iter().any(arriving)).await;
            }
            Some((Ok::<_, Infallible>(piece), sent + 1))
        }
    }))
}

/// Returns the last request for this path that the control plane got.
fn last(fake: &RunaiFake, path: &str) -> Result<Exchange, BoxError> {
    let found = fake.journal().into_iter().rfind(|it| it.path == path);
    found.ok_or_else(|| format!("nothing was sent to {path}").into())
}

/// A gateway, and a client that calls it.
struct Caller {
    gateway: String,
    client: legacy::Client<HttpConnector, Body>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn tell(&self) {
        match self.header("retry-after") {
            "" => println!("  {}", self.text()),
            seconds => println!("  Retry-After: {seconds}, {}", self.text()),
        }
    }
}

impl Caller {
    async fn new(fake: &RunaiFake, secret: &str) -> Result<Self, BoxError> {
        let ca = fake.ca_pem().ok_or("the fake has no CA")?;
        let auth = ControlPlane::new(fake.url())?
            .root_certificates_pem(ca.as_bytes())?
            // Without retries of the token fetch, the story stays short.
            .authenticate_with(Credentials::client("gateway", secret), |cache| {
                cache.attempts(1)
            });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let gateway = format!("http://{}", listener.local_addr()?);
        let server = axum::serve(listener, Gateway::new(auth)?.router());
        // The server ends with the program.
        tokio::spawn(server.into_future());
        Ok(Self {
            gateway,
            client: legacy::Client::builder(TokioExecutor::new()).build_http(),
        })
    }

    /// Sends a POST, or a GET if the body is empty.
    async fn send(&self, path: &str, body: Body) -> Result<Response<Incoming>, BoxError> {
        let method = match body.is_end_stream() {
            true => "GET",
            false => "POST",
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.gateway))
            .header("authorization", CALLER)
            .header("cookie", "session=the-callers-own")
            .header("connection", "keep-alive, x-for-this-hop")
            .header("x-for-this-hop", "1")
            .header("keep-alive", "timeout=5")
            .body(body)?;
        Ok(self.client.request(request).await?)
    }

    async fn call(&self, path: &str, body: Body) -> Result<Answer, BoxError> {
        let (head, body) = self.send(path, body).await?.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
    }

    /// Makes a call, and checks its status.
    async fn expect(
        &self,
        what: &str,
        path: &str,
        body: Body,
        status: u16,
    ) -> Result<Answer, BoxError> {
        let answer = self.call(path, body).await?;
        println!("{what}: {}", answer.status);
        hold(
            answer.status == status,
            &format!("{what} is answered {status}"),
        )?;
        Ok(answer)
    }
}

fn hold(held: bool, what: &str) -> Result<(), BoxError> {
    match held {
        true => Ok(()),
        false => Err(format!("expectation failed: {what}").into()),
    }
}
