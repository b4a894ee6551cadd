//! The stacks whose price on a request is measured: none, a static header, this project's layer, and
//! what a retry costs when it is written by hand.

use std::{
    convert::Infallible,
    future::{Future, Ready},
    hint::black_box,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, request};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use pin_project_lite::pin_project;
use tokio::runtime::Runtime;
use tower_bearer::{BearerAuth, BearerAuthLayer, Token, TokenCache, source_fn};
use tower_http::auth::{AddAuthorization, AddAuthorizationLayer};
use tower_layer::Layer;
use tower_service::Service;

use crate::workload::{Body, Noop, ORIGIN, Runner, through, through_clones, token};

/// tower-http's layer around a service.
pub fn fixed<S>(inner: S) -> AddAuthorization<S> {
    AddAuthorizationLayer::bearer(token()).layer(inner)
}

/// This project's layer around a service, with a token of an hour that is there already. Its clock is
/// the system's, so both are looked at.
pub fn ours<S>(runtime: &Runtime, inner: S, retry: bool) -> BearerAuth<S> {
    let layer = BearerAuthLayer::new(cache(runtime))
        .allow(ORIGIN)
        .expect("an origin");
    match retry {
        true => layer.layer(inner),
        false => layer.without_retry().layer(inner),
    }
}

/// A cache whose token is there.
pub fn cache(runtime: &Runtime) -> TokenCache {
    let cache = TokenCache::new(source_fn(|_| async {
        Ok(Token::new(token())?.expires_in(Duration::from_secs(3600)))
    }));
    runtime.block_on(cache.token()).expect("a token");
    cache
}

/// What a retry takes at least: a copy of the request's head and of the inner service, kept until the
/// response is there.
#[derive(Clone, Debug)]
pub struct Floor<S> {
    inner: AddAuthorization<S>,
}

impl<S> Floor<S> {
    pub fn new(inner: S) -> Self {
        Self {
            inner: fixed(inner),
        }
    }
}

pin_project! {
    /// The response, beside what a retry needs.
    pub struct Kept<F, S> {
        #[pin]
        response: F,
        again: (request::Parts, S),
    }
}

impl<S, B> Service<Request<B>> for Floor<S>
where
    S: Service<Request<B>> + Clone,
    AddAuthorization<S>: Service<Request<B>>,
{
    type Response = <AddAuthorization<S> as Service<Request<B>>>::Response;
    type Error = <AddAuthorization<S> as Service<Request<B>>>::Error;
    type Future = Kept<<AddAuthorization<S> as Service<Request<B>>>::Future, S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        let again = (head.clone(), self.inner.get_ref().clone());
        Kept {
            response: self.inner.call(Request::from_parts(head, body)),
            again,
        }
    }
}

impl<F: Future, S> Future for Kept<F, S> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // A 401 would need it; the compiler must not see that there is none.
        black_box(this.again);
        this.response.poll(cx)
    }
}

/// A service that is as dear to clone as hyper-util's client, and does nothing.
#[derive(Clone, Debug)]
pub struct HoldsClient {
    client: Client<HttpConnector, Body>,
}

impl Default for HoldsClient {
    fn default() -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }
}

impl<B> Service<Request<B>> for HoldsClient {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<B>>::poll_ready(&mut Noop, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(&self.client);
        Noop.call(request)
    }
}

/// Makes the runner of a stack for one more thread; all are clones of one service.
pub type Make = Box<dyn Fn() -> Runner>;

/// The names that `named` knows.
pub const NAMES: [&str; 7] = [
    "bare",
    "static",
    "ours",
    "floor",
    "ours_retry",
    "floor_client",
    "ours_retry_client",
];

/// A stack by its name, with a clone of the service for each request or not.
///
/// # Panics
///
/// If there is none of that name.
pub fn named(runtime: &Runtime, name: &str, clones: bool) -> Make {
    match name {
        "bare" => make(Noop, clones),
        "static" => make(fixed(Noop), clones),
        "ours" => make(ours(runtime, Noop, false), clones),
        "floor" => make(Floor::new(Noop), clones),
        "ours_retry" => make(ours(runtime, Noop, true), clones),
        "floor_client" => make(Floor::new(HoldsClient::default()), clones),
        "ours_retry_client" => make(ours(runtime, HoldsClient::default(), true), clones),
        other => panic!("no stack is called {other}"),
    }
}

/// Makes runners of clones of a service.
pub fn make<S>(service: S, clones: bool) -> Make
where
    S: Service<Request<Body>> + Clone + Send + 'static,
    S::Error: std::fmt::Debug,
{
    Box::new(move || match clones {
        true => through_clones(service.clone()),
        false => through(service.clone()),
    })
}
