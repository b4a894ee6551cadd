//! The loopback listener that waits for the browser (RFC 8252, section 7.3).

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Sleep, timeout},
};
use tower_bearer::oauth2::SecretText;

use super::{
    error::{LoginError, LoginErrorKind},
    redirect::{InvalidRedirect, Redirect},
};

const PATH: &str = "/callback";

/// How long a connection may take as a whole.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// The most connections at once. Browsers open a few ahead of need.
const CONNECTIONS: usize = 16;

/// The largest request head that is read, in bytes.
const HEAD_CAP: usize = 16 * 1024;

/// A port of 127.0.0.1, which is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    listener: TcpListener,
    port: u16,
}

/// Decides which request is the login's redirect. All connections share it.
#[derive(Debug)]
struct RedirectCheck {
    state: SecretText,
    host: String,
    /// Whether the one valid redirect has come.
    taken: AtomicBool,
}

impl Listener {
    pub(super) async fn bind() -> Result<Self, LoginError> {
        let failed = |error: std::io::Error| {
            let message = "cannot listen on a port of 127.0.0.1 for the browser";
            LoginError::new(LoginErrorKind::System, message).with_source(error)
        };
        // The address and not `localhost`, which may mean another interface (RFC 8252, section 8.3).
        let place = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(place).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok(Self { listener, port })
    }

    pub(super) fn redirect_uri(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// Waits for the one redirect with this state. Returns `None` if the deadline comes first.
    pub(super) async fn wait(
        self,
        state: SecretText,
        mut deadline: Pin<Box<Sleep>>,
    ) -> Result<Option<Redirect>, LoginError> {
        let check = Arc::new(RedirectCheck {
            state,
            host: format!("127.0.0.1:{}", self.port),
            taken: AtomicBool::new(false),
        });
        // All of them end with it.
        let mut open = JoinSet::new();
        poll_fn(move |cx| {
            // Polled first, so that a flood of connections cannot delay it.
            if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(None));
            }
            loop {
                match open.poll_join_next(cx) {
                    Poll::Ready(Some(Ok(Some(redirect)))) => {
                        return Poll::Ready(Ok(Some(redirect)));
                    }
                    Poll::Ready(Some(_)) => continue,
                    Poll::Ready(None) | Poll::Pending => {}
                }
                match self.listener.poll_accept(cx) {
                    Poll::Ready(Ok((stream, _))) if open.len() < CONNECTIONS => {
                        open.spawn(serve(stream, check.clone()));
                    }
                    // Dropping a connection beyond the limit closes it.
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) if is_the_clients(&error) => {}
                    Poll::Ready(Err(error)) => {
                        let message = "the browser can no longer be listened for";
                        let failed = LoginError::new(LoginErrorKind::System, message);
                        return Poll::Ready(Err(failed.with_source(error)));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }
}

/// Whether only this one connection is gone.
fn is_the_clients(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

/// Serves one request, and gives the good redirect back when its answer has been sent, so that the
/// browser has its page.
async fn serve(stream: TcpStream, check: Arc<RedirectCheck>) -> Option<Redirect> {
    let good = Mutex::new(None);
    let keep = |redirect| *good.lock().unwrap_or_else(PoisonError::into_inner) = Some(redirect);
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let response = match check.check(&request) {
            Ok(redirect) => {
                let text = match redirect {
                    Redirect::Code(_) => {
                        "The login has been passed to the program that asked for it."
                    }
                    Redirect::Refused(..) => {
                        "The login failed. The program that asked for it says why."
                    }
                };
                keep(redirect);
                page(StatusCode::OK, text)
            }
            Err((status, text)) => page(status, text),
        };
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_CAP)
        .serve_connection(TokioIo::new(stream), service);
    // Whether the page came through does not matter to the login, and who was too slow is cut off.
    let _ended = timeout(CONNECTION_LIMIT, connection).await;
    good.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl RedirectCheck {
    /// Returns the redirect if it is the valid one, else the page for the browser.
    fn check<B>(&self, request: &Request<B>) -> Result<Redirect, (StatusCode, &'static str)> {
        // Another host name means that a web page rebound its own name to this address (DNS rebinding).
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = hosts.next().filter(|host| **host == *self.host);
        let elsewhere = request
            .uri()
            .authority()
            .is_some_and(|it| *it != *self.host);
        if host.is_none() || hosts.next().is_some() || elsewhere {
            return Err((StatusCode::FORBIDDEN, "This is the wrong address."));
        }
        if request.uri().path() != PATH {
            return Err((StatusCode::NOT_FOUND, "There is nothing here."));
        }
        if request.method() != Method::GET {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "This is the wrong method."));
        }
        let query = request.uri().query().unwrap_or_default();
        let redirect = Redirect::read(query, &self.state).map_err(|error| match error {
            InvalidRedirect::State => (StatusCode::BAD_REQUEST, "This belongs to another login."),
            InvalidRedirect::Empty => (StatusCode::BAD_REQUEST, "This holds no code."),
        })?;
        match self.taken.swap(true, Relaxed) {
            true => Err((StatusCode::BAD_REQUEST, "This login is over.")),
            false => Ok(redirect),
        }
    }
}

/// Makes a page without scripts and without any text from the request. Its headers keep the URL, which holds
/// the code, from other pages and from caches.
fn page(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Login</title></head>\
         <body><p>{text}</p><p>You can close this window.</p></body></html>"
    );
    let mut response = Response::new(Full::from(html));
    *response.status_mut() = status;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(name, http::HeaderValue::from_static(value));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let get = http::HeaderValue::from_static("GET");
        response.headers_mut().insert(header::ALLOW, get);
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::sleep,
    };

    use super::*;

    #[test]
    fn only_the_first_valid_redirect_counts() {
        let check = RedirectCheck {
            state: "st4te".into(),
            host: "127.0.0.1:1".into(),
            taken: AtomicBool::new(false),
        };
        let request = |code: &str| {
            let request = Request::get(format!("/callback?state=st4te&code={code}"));
            let request = request.header(header::HOST, "127.0.0.1:1");
            check.check(&request.body(()).unwrap())
        };
        assert!(request("").is_err());
        assert!(request("first").is_ok());
        let (status, text) = request("second").unwrap_err();
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(text, "This login is over.");
    }

    /// The paused clock advances by itself while all tasks wait.
    #[tokio::test(start_paused = true)]
    async fn a_slow_connection_is_cut_off_and_does_not_end_the_login() {
        let listener = Listener::bind().await.unwrap();
        let address = ("127.0.0.1", listener.port);
        let deadline = Box::pin(sleep(Duration::from_secs(60)));
        let waiting = tokio::spawn(listener.wait("st4te".into(), deadline));
        for part in ["", "GET /callback?state=st4te&code=c HTTP/1.1\r\n"] {
            let mut slow = TcpStream::connect(address).await.unwrap();
            slow.write_all(part.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // The connection is reset if part of the request was not read.
            let _ended = slow.read_to_end(&mut answer).await;
            assert_eq!(answer, b"");
            assert!(!waiting.is_finished());
        }
        assert!(waiting.await.unwrap().unwrap().is_none());
    }
}
