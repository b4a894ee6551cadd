//! Another control plane: it issues a token, and does what the fake does not.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{Notify, mpsc},
};

pub(crate) const TOKEN: &str = "the-token-of-the-upstream";

type Body = BoxBody<Bytes, Infallible>;

/// A server on loopback, to the end of the test.
pub(crate) struct Upstream {
    pub(crate) url: String,
    /// Lets the second piece of `/events` go.
    pub(crate) gate: Arc<Notify>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gate = Arc::new(Notify::new());
        let (base, opened) = (url.clone(), gate.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (base, opened) = (base.clone(), opened.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (base, opened) = (base.clone(), opened.clone());
                        async move { Ok::<_, Infallible>(answer(request, &base, opened).await) }
                    });
                    let builder = Builder::new(TokioExecutor::new());
                    let io = TokioIo::new(stream);
                    // How a connection ends is the test's business.
                    let _ended = builder.serve_connection_with_upgrades(io, service).await;
                });
            }
        });
        Self { url, gate }
    }
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

/// A body whose frames come one by one.
struct Pieces(mpsc::Receiver<Frame<Bytes>>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

fn pieces() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    let (sender, receiver) = mpsc::channel(4);
    (sender, Pieces(receiver).boxed())
}

async fn answer(request: Request<Incoming>, base: &str, gate: Arc<Notify>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let bearer = format!("Bearer {TOKEN}");
    let authorization = request.headers().get(header::AUTHORIZATION);
    if path != "/api/v1/token" && authorization.is_none_or(|it| it != bearer.as_str()) {
        let mut refused = Response::new(full(""));
        *refused.status_mut() = StatusCode::UNAUTHORIZED;
        return refused;
    }
    let mut response = Response::new(full(""));
    match path.as_str() {
        "/api/v1/token" => *response.body_mut() = full(format!(r#"{{"accessToken":"{TOKEN}"}}"#)),
        // Repeats the request as it came.
        "/echo" => {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap();
            let headers = response.headers_mut();
            let add = |headers: &mut HeaderMap, name: &'static str, value: String| {
                headers.insert(name, HeaderValue::try_from(value).unwrap());
            };
            add(headers, "x-method", head.method.to_string());
            add(headers, "x-uri", head.uri.to_string());
            if let Some(query) = head.headers.get("x-yours") {
                headers.insert("x-yours", query.clone());
            }
            if let Some(length) = head.headers.get(header::CONTENT_LENGTH) {
                headers.insert("x-length", length.clone());
            }
            if let Some(sum) = body.trailers().and_then(|it| it.get("x-sum")) {
                headers.insert("x-sum", sum.clone());
            }
            *response.body_mut() = full(body.to_bytes());
        }
        "/trailers" => {
            let (sender, body) = pieces();
            sender.send(Frame::data("data".into())).await.unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("42"));
            sender.send(Frame::trailers(trailers)).await.unwrap();
            let name = HeaderValue::from_static("x-sum");
            response.headers_mut().insert(header::TRAILER, name);
            *response.body_mut() = body;
        }
        "/events" => {
            let (sender, body) = pieces();
            tokio::spawn(async move {
                let first = Frame::data(Bytes::from_static(b"data: 1\n\n"));
                sender.send(first).await.unwrap();
                gate.notified().await;
                let second = Frame::data(Bytes::from_static(b"data: 2\n\n"));
                // The reader may be gone by now.
                let _sent = sender.send(second).await;
            });
            let kind = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            *response.body_mut() = body;
        }
        "/upgrade" => {
            let protocol = request.headers().get(header::UPGRADE).cloned();
            let Some(protocol) = protocol else {
                *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
                return response;
            };
            tokio::spawn(echo(hyper::upgrade::on(request)));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, protocol);
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert("sec-websocket-accept", HeaderValue::from_static("x"));
        }
        "/moved" => {
            *response.status_mut() = StatusCode::FOUND;
            let location = HeaderValue::try_from(format!("{base}/api/x?a=b")).unwrap();
            response.headers_mut().insert(header::LOCATION, location);
        }
        "/moved-away" => {
            *response.status_mut() = StatusCode::FOUND;
            let location = HeaderValue::from_static("https://store.example/x");
            response.headers_mut().insert(header::LOCATION, location);
        }
        "/chatty" => {
            let headers = response.headers_mut();
            for (name, value) in [
                ("connection", "x-mine"),
                ("x-mine", "1"),
                ("x-yours", "1"),
                ("set-cookie", "a=b"),
                ("access-control-allow-origin", "*"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}

async fn echo(upgrade: hyper::upgrade::OnUpgrade) {
    let mut stream = TokioIo::new(upgrade.await.unwrap());
    let mut piece = [0; 1024];
    loop {
        let read = stream.read(&mut piece).await.unwrap_or(0);
        if read == 0 || stream.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}
