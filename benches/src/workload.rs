//! The request that all stacks send, and the service at their inner end that does nothing with it.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    task::{Context, Poll, Wake, Waker},
    thread,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, Uri,
    header::{self, HeaderName},
};
use http_body_util::Empty;
use tower_service::Service;

/// The body of the requests.
pub type Body = Empty<Bytes>;

/// Where the requests go.
pub const ORIGIN: &str = "https://api.example";

/// How long a token is in letters.
pub const TOKEN_LEN: usize = 1200;

/// A token of 1.2 kB that looks like a JWT.
pub fn token() -> &'static str {
    static TOKEN: OnceLock<String> = OnceLock::new();
    TOKEN.get_or_init(|| {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut token = String::from("eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.");
        let mut state = 7usize;
        while token.len() < TOKEN_LEN {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // The signature is as long as RS256's.
            match TOKEN_LEN - token.len() {
                343 => token.push('.'),
                _ => token.push(char::from(LETTERS[(state >> 33) % LETTERS.len()])),
            }
        }
        token
    })
}

/// A request with six headers, built as a client builds one.
pub fn request() -> Request<Body> {
    request_with(Body::new())
}

/// The same with a body.
pub fn request_with<B>(body: B) -> Request<B> {
    static URI: OnceLock<Uri> = OnceLock::new();
    let uri = URI.get_or_init(|| Uri::from_static("https://api.example/api/v1/clusters?limit=50"));
    let mut request = Request::new(body);
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers();
    request
}

/// The six headers; their values are made before.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::HOST, HeaderValue::from_static("api.example")),
    (header::ACCEPT, HeaderValue::from_static("application/json")),
    (
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("gzip, br"),
    ),
    (header::USER_AGENT, HeaderValue::from_static("bench/1.0")),
    (
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    ),
    (
        HeaderName::from_static("x-request-id"),
        HeaderValue::from_static("4bf92f3577b34da6a3ce929d0e0e4736"),
    ),
];

/// A map of the six headers. It has room for more, so that no stack pays for its growth.
pub fn headers() -> HeaderMap {
    let mut map = HeaderMap::with_capacity(8);
    for (name, value) in HEADERS {
        map.insert(name, value);
    }
    map
}

/// The same as text, for stacks with headers of their own.
pub fn static_headers() -> [(&'static str, &'static str); 6] {
    [
        ("host", "api.example"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("user-agent", "bench/1.0"),
        ("content-type", "application/json"),
        ("x-request-id", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ]
}

/// Answers at once, and does nothing else.
#[derive(Clone, Debug, Default)]
pub struct Noop;

impl<B> Service<Request<B>> for Noop {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(&request);
        drop(request);
        ready(Ok(Response::new(Body::new())))
    }
}

/// The output of a future that hardly ever waits: for a lock that another thread holds, but for no token.
/// A runtime would only add its own cost to all.
#[inline]
pub fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let first = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    match first {
        Poll::Ready(output) => output,
        Poll::Pending => wait(future),
    }
}

/// Parks this thread until the future is ready.
#[cold]
fn wait<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Sends a number of requests; one lot of them is what is timed.
pub type Runner = Box<dyn FnMut(u64) + Send>;

/// Sends requests through a service, as its caller must: ready, then call.
pub fn through<S>(mut service: S) -> Runner
where
    S: Service<Request<Body>> + Send + 'static,
    S::Error: std::fmt::Debug,
{
    Box::new(move |requests| {
        for _ in 0..requests {
            once(&mut service);
        }
    })
}

/// The same with a clone of the service for each request, as hyper's and axum's users do.
pub fn through_clones<S>(service: S) -> Runner
where
    S: Service<Request<Body>> + Clone + Send + 'static,
    S::Error: std::fmt::Debug,
{
    Box::new(move |requests| {
        for _ in 0..requests {
            once(&mut service.clone());
        }
    })
}

#[inline]
fn once<S>(service: &mut S)
where
    S: Service<Request<Body>>,
    S::Error: std::fmt::Debug,
{
    // Nothing that must be dropped outlives this: else the request that is built next is moved once more.
    let is_ready = service
        .poll_ready(&mut Context::from_waker(Waker::noop()))
        .is_ready();
    assert!(is_ready);
    let response = finish(service.call(black_box(request())));
    assert!(response.is_ok());
    drop(black_box(response));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_looks_like_a_jwt() {
        assert_eq!(token().len(), TOKEN_LEN);
        assert_eq!(token().split('.').count(), 3);
    }

    #[test]
    fn the_request_has_six_headers() {
        assert_eq!(request().headers().len(), 6);
    }
}
