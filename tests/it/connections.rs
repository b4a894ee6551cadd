//! What a rejection leaves of its connection: a server that counts, over real sockets.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use runai_auth::{
    BearerAuthLayer, BoxError, ReplayBody, Token, TokenCache,
    tower_bearer::{SourceError, auth::ReadRejections, source_fn},
};
use tokio::{net::TcpListener, sync::Barrier, time::timeout};
use tower::{Layer, Service, ServiceExt};

use crate::support::setup;

/// Far more than is needed, and far less than any time-out of the code.
const SOON: Duration = Duration::from_secs(5);

/// An API that accepts one token, and issues it at `/token`.
struct Server {
    url: String,
    state: Arc<State>,
}

struct State {
    /// The number of the token that is accepted.
    accepted: AtomicUsize,
    /// The connections that were accepted.
    connections: AtomicUsize,
    /// The requests with the first token wait until all of them are there, and are rejected then.
    together: Barrier,
}

#[derive(Clone, Copy, PartialEq)]
enum Speaks {
    Http1,
    /// One connection after the other.
    Http1Alone,
    Http2,
}

impl Server {
    async fn start(speaks: Speaks, together: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            accepted: AtomicUsize::new(1),
            connections: AtomicUsize::new(0),
            together: Barrier::new(together),
        });
        let of_server = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = of_server.clone();
                state.connections.fetch_add(1, SeqCst);
                let service = service_fn(move |request| answer(state.clone(), request));
                let io = TokioIo::new(stream);
                let connection = async move {
                    // A client that goes away is no failure.
                    let _gone = match speaks {
                        Speaks::Http2 => {
                            let server = http2::Builder::new(TokioExecutor::new());
                            server.serve_connection(io, service).await
                        }
                        _ => {
                            let server = http1::Builder::new();
                            server.serve_connection(io, service).await
                        }
                    };
                };
                match speaks {
                    Speaks::Http1Alone => connection.await,
                    _ => drop(tokio::spawn(connection)),
                }
            }
        });
        Self { url, state }
    }

    fn request(&self, path: &str) -> Request<Full<Bytes>> {
        let uri = format!("{}{path}", self.url);
        Request::get(uri).body(Full::default()).unwrap()
    }

    /// Sends requests that are all rejected at once, and returns the statuses of the answers.
    async fn revoked<S, B>(&self, api: S, requests: usize) -> Vec<StatusCode>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError> + Clone,
    {
        let sent = (0..requests).map(|_| {
            let request = api.clone().oneshot(self.request("/api"));
            async move { request.await.unwrap().status() }
        });
        let sent = timeout(SOON, join_all(sent)).await;
        sent.expect("the requests are retried soon")
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let accepted = || format!("Bearer t{}", state.accepted.load(SeqCst));
    if request.uri().path() == "/token" {
        let token = accepted().replace("Bearer ", "");
        return Ok(Response::new(Full::from(token).boxed()));
    }
    let bearer = request.headers()["authorization"].clone();
    if bearer == "Bearer t1" {
        state.together.wait().await;
        state.accepted.store(2, SeqCst);
    }
    if bearer == accepted().as_str() {
        return Ok(Response::new(Full::from("things").boxed()));
    }
    // The second half comes a little later than the first.
    let halves = stream::iter([0, 1]).then(|half| async move {
        for _ in 0..half * 20 {
            tokio::task::yield_now().await;
        }
        Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'n'; 2048])))
    });
    let response = Response::builder().status(401);
    Ok(response
        .body(BodyExt::boxed(StreamBody::new(halves)))
        .unwrap())
}

type Http = Client<HttpConnector, ReplayBody<Full<Bytes>>>;

/// A cache whose tokens come from the server, through the client that its API is called with.
async fn cache(server: &Server, client: &Http) -> TokenCache {
    let (client, url) = (client.clone(), format!("{}/token", server.url));
    let cache = TokenCache::new(source_fn(move |_| {
        let (client, url) = (client.clone(), url.clone());
        async move {
            let issued = async {
                let request = Request::get(url).body(ReplayBody::default())?;
                let body = client.request(request).await?.into_body();
                Ok::<_, BoxError>(body.collect().await?.to_bytes())
            };
            let down = |error: BoxError| SourceError::transient("down").with_source(error);
            let token = issued.await.map_err(down)?;
            Ok(Token::new(String::from_utf8_lossy(&token))?.expires_in(Duration::from_secs(3600)))
        }
    }));
    cache.token().await.unwrap();
    cache
}

fn http2() -> Http {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .http2_adaptive_window(true)
        .build_http()
}

fn http1() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l06_unread_rejections_do_not_keep_a_refresh_from_its_connection() {
    for reads in [true, false] {
        let server = Server::start(Speaks::Http2, 100).await;
        let client = http2();
        let layer = BearerAuthLayer::new(cache(&server, &client).await);
        let layer = layer.allow(&server.url).unwrap();
        let statuses = match reads {
            true => {
                let api = layer.layer(ReadRejections::new(client));
                server.revoked(api, 100).await
            }
            false => {
                let api = layer.drop_rejected_responses().layer(client);
                server.revoked(api, 100).await
            }
        };
        assert_eq!(statuses, vec![StatusCode::OK; 100], "reads: {reads}");
        assert_eq!(server.state.connections.load(SeqCst), 1);
    }
}

#[tokio::test]
async fn l07_a_rejected_request_leaves_the_only_connection_to_its_retry() {
    let server = Server::start(Speaks::Http1Alone, 1).await;
    let client = http1();
    let layer = BearerAuthLayer::new(cache(&server, &client).await);
    let layer = layer.allow(&server.url).unwrap();
    let api = layer.layer(ReadRejections::new(client));
    assert_eq!(server.revoked(api, 1).await, [StatusCode::OK]);
    assert_eq!(server.state.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn l07_the_clients_own_connection_is_free_too() {
    let setup = setup().await;
    let server = Server::start(Speaks::Http1Alone, 1).await;
    let layer = setup.auth.layer().allow(&server.url).unwrap();
    let api = layer.layer(setup.api.get_ref().clone());
    // No token of the fake's is accepted here, so the answer is the second rejection.
    let statuses = server.revoked(api, 1).await;
    assert_eq!(statuses, [StatusCode::UNAUTHORIZED]);
    assert_eq!(setup.auth.status().counts.retries, 1);
    assert_eq!(server.state.connections.load(SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l07_a_hundred_rejections_do_not_cost_two_hundred_connections() {
    let server = Server::start(Speaks::Http1, 100).await;
    let client = http1();
    let layer = BearerAuthLayer::new(cache(&server, &client).await);
    let layer = layer.allow(&server.url).unwrap();
    let api = layer.layer(ReadRejections::new(client));
    let statuses = server.revoked(api, 100).await;
    assert_eq!(statuses, vec![StatusCode::OK; 100]);
    let connections = server.state.connections.load(SeqCst);
    println!("{connections} connections");
    assert!(connections <= 120, "{connections}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l07_with_the_other_token_at_hand_the_only_connection_is_free_too() {
    for _ in 0..20 {
        let server = Server::start(Speaks::Http1Alone, 2).await;
        let fetches = Arc::new(AtomicUsize::new(0));
        let cache = TokenCache::new(source_fn(move |_| {
            let token = Token::new(format!("t{}", fetches.fetch_add(1, SeqCst) + 1));
            async move { Ok(token?) }
        }));
        cache.token().await.unwrap();
        let layer = BearerAuthLayer::new(cache.clone())
            .allow(&server.url)
            .unwrap();
        let api = layer.layer(ReadRejections::new(http1()));
        let refreshed = async {
            while server.state.connections.load(SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            cache.refresh().await.unwrap();
            server.state.together.wait().await;
        };
        let (statuses, ()) = tokio::join!(server.revoked(api, 1), refreshed);
        assert_eq!(statuses, [StatusCode::OK]);
        assert_eq!(server.state.connections.load(SeqCst), 1);
    }
}
