//! Redirects that are followed outside the layer: each hop keeps what its request asked for.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Empty;
use tower::{
    BoxError as TowerError, Layer, Service, ServiceBuilder, ServiceExt, layer::util::Stack,
    service_fn, util::BoxCloneSyncService,
};
use tower_bearer::{
    BearerAuth, BearerAuthLayer, BoxError, Kind, ReplayBody, RequestOptions, TokenCache,
};
use tower_http::follow_redirect::{FollowRedirectLayer, policy};
use tower_http_06::follow_redirect::{
    FollowRedirectLayer as FollowRedirectLayer06, policy as policy_06,
};

use crate::{
    api::{ours, ready},
    support::Control,
};

type Sent = Request<Empty<Bytes>>;
type Client = BoxCloneSyncService<Sent, Response<String>, BoxError>;
type Inner = BoxCloneSyncService<Request<ReplayBody<Empty<Bytes>>>, Response<String>, BoxError>;

/// What servers saw: host, token, and all names of headers.
type Log = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// Servers that redirect three times, elsewhere and back, each time with another status.
fn servers(log: &Log) -> Inner {
    let log = log.clone();
    let inner = service_fn(move |request: Request<ReplayBody<Empty<Bytes>>>| {
        let log = log.clone();
        async move {
            let (host, path) = (request.uri().host().unwrap(), request.uri().path());
            let headers = request.headers();
            for name in headers.keys() {
                let known = ["authorization", "x-own"];
                assert!(known.contains(&name.as_str()), "{name} reached the wire");
            }
            let bearer = headers.get("authorization").map(|it| {
                let text = it.to_str().unwrap();
                text.strip_prefix("Bearer ").unwrap().to_owned()
            });
            log.lock().unwrap().push((host.to_owned(), bearer));
            let (status, to) = match path {
                "/1" => (307, "/2"),
                "/2" => (302, "https://other.example/3"),
                "/3" => (308, "https://other.example/4"),
                "/4" => (303, "https://api.example/5"),
                _ => (200, ""),
            };
            let response = Response::builder().status(status).header("location", to);
            Ok::<_, BoxError>(response.body(String::new()).unwrap())
        }
    });
    BoxCloneSyncService::new(inner)
}

const HOSTS: [&str; 5] = [
    "api.example",
    "api.example",
    "other.example",
    "other.example",
    "api.example",
];

/// A layer that follows redirects and passes nothing on but the URI.
#[derive(Clone)]
struct Bare<S>(S);

impl<S> Service<Sent> for Bare<S>
where
    S: Service<Sent, Response = Response<String>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<String>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Sent) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move {
            let mut uri = request.uri().clone();
            let mut response = inner.clone().oneshot(request).await?;
            while response.status().is_redirection() {
                // Others run in between.
                tokio::task::yield_now().await;
                let to: Uri = response.headers()["location"].to_str()?.parse()?;
                let mut parts = to.into_parts();
                parts.scheme = parts.scheme.or_else(|| uri.scheme().cloned());
                parts.authority = parts.authority.or_else(|| uri.authority().cloned());
                uri = Uri::from_parts(parts)?;
                let hop = Request::get(uri.clone()).body(Empty::new())?;
                response = inner.clone().oneshot(hop).await?;
            }
            Ok(response)
        })
    }
}

fn layer(cache: &TokenCache) -> BearerAuthLayer {
    BearerAuthLayer::new(cache.clone())
        .allow("https://api.example")
        .unwrap()
        .allow("https://other.example")
        .unwrap()
}

fn client<L>(cache: &TokenCache, redirects: L, log: &Log) -> Client
where
    L: Layer<BearerAuth<Inner>>,
    L::Service: Service<Sent, Response = Response<String>, Error = BoxError>
        + Clone
        + Send
        + Sync
        + 'static,
    <L::Service as Service<Sent>>::Future: Send,
{
    let layer = layer(cache).with_redirects(redirects);
    BoxCloneSyncService::new(layer.layer(servers(log)))
}

/// Clients with each way to follow redirects.
fn clients(cache: &TokenCache, log: &Log) -> Vec<(&'static str, Client)> {
    let all_07 = policy::FilterCredentials::new().remove_all();
    let all_06 = policy_06::FilterCredentials::new().remove_all();
    let keeping = policy::FilterCredentials::new()
        .remove_none()
        .keep_all_extensions();
    vec![
        ("0.7", client(cache, FollowRedirectLayer::new(), log)),
        (
            "0.7, no extensions",
            client(
                cache,
                FollowRedirectLayer::new().preserve_extensions(false),
                log,
            ),
        ),
        (
            "0.7, no headers",
            client(cache, FollowRedirectLayer::with_policy(all_07), log),
        ),
        (
            "0.7, all kept",
            client(cache, FollowRedirectLayer::with_policy(keeping), log),
        ),
        ("0.6", client(cache, FollowRedirectLayer06::new(), log)),
        (
            "0.6, no headers",
            client(cache, FollowRedirectLayer06::with_policy(all_06), log),
        ),
        (
            "nothing kept",
            client(cache, tower::layer::layer_fn(Bare), log),
        ),
        (
            "a stack",
            client(
                cache,
                Stack::new(
                    FollowRedirectLayer06::new(),
                    tower::layer::layer_fn(|inner| tower::util::MapErr::new(inner, same)),
                ),
                log,
            ),
        ),
    ]
}

fn same(error: TowerError) -> TowerError {
    error
}

fn request() -> Sent {
    Request::get("https://api.example/1")
        .body(Empty::new())
        .unwrap()
}

fn asking(options: RequestOptions) -> Sent {
    let mut request = request();
    request.extensions_mut().insert(options);
    request
}

/// Sends a request through a client, and returns the tokens of its hops.
async fn hops(client: &Client, request: Sent, log: &Log) -> Vec<Option<String>> {
    log.lock().unwrap().clear();
    let response = client.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let (hosts, tokens): (Vec<_>, Vec<_>) = std::mem::take(&mut *log.lock().unwrap())
        .into_iter()
        .unzip();
    assert_eq!(hosts, HOSTS);
    tokens
}

async fn two() -> (TokenCache, TokenCache, [Control; 2]) {
    let (ours, control) = ready("ours").await;
    let (theirs, their_control) = ready("theirs").await;
    (ours, theirs, [control, their_control])
}

#[tokio::test]
async fn l24_another_cache_counts_on_each_hop() {
    let (ours, theirs, _controls) = two().await;
    let log = Log::default();
    for (which, client) in clients(&ours, &log) {
        let request = asking(RequestOptions::new().cache(theirs.clone()));
        let tokens = hops(&client, request, &log).await;
        assert_eq!(tokens, vec![Some("theirs".to_owned()); 5], "{which}");
    }
}

#[tokio::test]
async fn l24_a_request_without_a_token_gets_none_on_any_hop() {
    let (ours, _theirs, _controls) = two().await;
    let log = Log::default();
    for (which, client) in clients(&ours, &log) {
        let request = asking(RequestOptions::new().without_token());
        assert_eq!(hops(&client, request, &log).await, vec![None; 5], "{which}");
    }
}

#[tokio::test]
async fn l24_g27_no_token_takes_the_place_of_a_callers_own_header() {
    let (ours, theirs, _controls) = two().await;
    let log = Log::default();
    for (which, client) in clients(&ours, &log) {
        for options in [
            RequestOptions::new(),
            RequestOptions::new().cache(theirs.clone()),
        ] {
            let mut request = asking(options);
            let own = "Bearer own".parse().unwrap();
            request.headers_mut().insert("authorization", own);
            let tokens = hops(&client, request, &log).await;
            assert_eq!(tokens[0].as_deref(), Some("own"), "{which}");
            let is_safe = |token: &Option<String>| token.as_deref().is_none_or(|it| it == "own");
            assert!(tokens.iter().all(is_safe), "{which}: {tokens:?}");
        }
    }
}

#[tokio::test]
async fn l24_a_plain_request_gets_the_layers_token_on_each_hop() {
    let (ours, _theirs, _controls) = two().await;
    let log = Log::default();
    for (which, client) in clients(&ours, &log) {
        let mut request = request();
        let own = "own".parse().unwrap();
        request.headers_mut().insert("x-own", own);
        let tokens = hops(&client, request, &log).await;
        assert_eq!(tokens, vec![Some("ours".to_owned()); 5], "{which}");
    }
}

#[tokio::test]
async fn l24_in_a_gateway_the_header_of_a_caller_never_counts() {
    let (ours, theirs, _controls) = two().await;
    let log = Log::default();
    let layer = layer(&ours)
        .overwrite_authorization()
        .with_redirects(FollowRedirectLayer::new());
    let client: Client = BoxCloneSyncService::new(layer.layer(servers(&log)));
    let mut request = asking(RequestOptions::new().cache(theirs));
    let own = "Bearer own".parse().unwrap();
    request.headers_mut().insert("authorization", own);
    let tokens = hops(&client, request, &log).await;
    assert_eq!(tokens, vec![Some("theirs".to_owned()); 5]);
}

#[tokio::test]
async fn l24_many_requests_in_one_task_do_not_get_mixed_up() {
    let (ours, theirs, _controls) = two().await;
    let log = Log::default();
    let log = &log;
    for (which, client) in clients(&ours, log) {
        let client = &client;
        let theirs = &theirs;
        let sent = (0..30).map(|at| async move {
            let request = match at % 3 {
                0 => request(),
                1 => asking(RequestOptions::new().cache(theirs.clone())),
                _ => asking(RequestOptions::new().without_token()),
            };
            client.clone().oneshot(request).await.unwrap().status()
        });
        futures_util::future::join_all(sent).await;
        let seen = std::mem::take(&mut *log.lock().unwrap());
        for token in [None, Some("ours"), Some("theirs")] {
            let count = seen.iter().filter(|it| it.1.as_deref() == token).count();
            assert_eq!(count, 50, "{which}: {token:?}");
        }
    }
}

#[tokio::test]
async fn l24_a_hop_from_another_task_is_refused() {
    let (cache, _theirs, _controls) = two().await;
    let log = Log::default();
    let redirects = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .buffer(4)
        .into_inner();
    let layer = layer(&cache).with_redirects(redirects);
    let error = layer
        .layer(servers(&log))
        .oneshot(asking(RequestOptions::new().without_token()))
        .await
        .unwrap_err();
    assert_eq!(*ours(&error), Kind::OutOfHop);
    assert!(error.to_string().contains("from another task"), "{error}");
    assert!(log.lock().unwrap().is_empty());
}

#[tokio::test]
async fn l24_layers_with_redirects_may_be_nested() {
    let (ours, theirs, _controls) = two().await;
    let log = Log::default();
    // A gateway's service, which itself asks another one for each request.
    let below = client(&theirs, FollowRedirectLayer06::new(), &log);
    let inner = service_fn(move |_: Request<ReplayBody<Empty<Bytes>>>| {
        let below = below.clone();
        async move { below.oneshot(request()).await }
    });
    let above = layer(&ours)
        .with_redirects(FollowRedirectLayer06::new())
        .layer(inner);
    let request = asking(RequestOptions::new().without_token());
    above.oneshot(request).await.unwrap();
    let seen = std::mem::take(&mut *log.lock().unwrap());
    assert_eq!(seen.len(), 5);
    let is_theirs = |it: &(String, Option<String>)| it.1.as_deref() == Some("theirs");
    assert!(seen.iter().all(is_theirs), "{seen:?}");
}
