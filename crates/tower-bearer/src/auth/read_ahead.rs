//! Reads the body of a response that rejects a token before anybody waits for another one.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{Request, Response, StatusCode, response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::clock::{Clock, Sleep, SystemClock};

/// Reads the body of each 401 to its end, around a client, inside of [`BearerAuth`](super::BearerAuth).
///
/// A request whose token was rejected holds the first response while it waits for another token. A body that nobody
/// has read occupies a connection, or a part of the window that all streams of a connection share. Then the retry, or
/// the refresh itself, may have to wait for it. A body that was read occupies nothing.
///
/// The caller gets the same response; its body is what was read, and then the rest.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower_bearer::{BearerAuthLayer, ReplayBody, TokenCache, auth::ReadRejections};
///
/// # fn example(cache: TokenCache) -> Result<(), tower_bearer::InvalidOrigin> {
/// let client = Client::builder(TokioExecutor::new()).build_http::<ReplayBody<Full<Bytes>>>();
/// let api = tower::ServiceBuilder::new()
///     .layer(BearerAuthLayer::new(cache).allow("http://127.0.0.1:8080")?)
///     .layer_fn(ReadRejections::new)
///     .service(client);
/// # drop(api);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReadRejections<S> {
    inner: S,
}

impl<S> ReadRejections<S> {
    /// Puts this service around a client.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }

    /// Returns the client.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the client.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, T, B> Service<Request<T>> for ReadRejections<S>
where
    S: Service<Request<T>, Response = Response<B>>,
    B: Body + Unpin,
{
    type Response = Response<ReadAhead<B>>;
    type Error = S::Error;
    type Future = ReadRejectionsFuture<S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<T>) -> Self::Future {
        ReadRejectionsFuture {
            response: self.inner.call(request),
            reading: None,
        }
    }
}

pin_project! {
    /// The response future of [`ReadRejections`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the request.
    pub struct ReadRejectionsFuture<F, B: Body> {
        #[pin]
        response: F,
        // The head of a rejection, and its body, once they are there.
        reading: Option<Box<(response::Parts, Reading<B>)>>,
    }
}

impl<F, B, E> Future for ReadRejectionsFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body + Unpin,
{
    type Output = Result<Response<ReadAhead<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.reading.is_none() {
            let response = ready!(this.response.poll(cx))?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Poll::Ready(Ok(response.map(ReadAhead::unread)));
            }
            let (head, body) = response.into_parts();
            *this.reading = Some(Box::new((head, ReadAhead::read(body))));
        }
        let Some(reading) = this.reading else {
            unreachable!("it was put there");
        };
        let body = ready!(Pin::new(&mut reading.1).poll(cx));
        let head = mem::replace(&mut reading.0, Response::new(()).into_parts().0);
        Poll::Ready(Ok(Response::from_parts(head, body)))
    }
}

impl<F, B: Body> fmt::Debug for ReadRejectionsFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadRejectionsFuture")
            .finish_non_exhaustive()
    }
}

/// How long a connection takes at most, as a rule, to return to its pool after a body was read to its end: two tasks of
/// hyper's have to run. A retry that does not wait for them opens another connection, and a server may serve only one.
const WAY_BACK: Duration = Duration::from_millis(2);

/// A body whose beginning, or all of it, was read already.
pub struct ReadAhead<B: Body> {
    /// What was read.
    read: Bytes,
    /// The frame or the error that ended the reading.
    next: Option<Result<Frame<Bytes>, B::Error>>,
    /// What was not read; `None` if there is no more.
    rest: Option<B>,
}

// An error is never pinned.
impl<B: Body + Unpin> Unpin for ReadAhead<B> {}

impl<B: Body> ReadAhead<B> {
    /// The most bytes that are read: 64 KiB. The body of a rejection is a sentence, or a page for browsers.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// The most time that it takes: 1 s.
    pub const MAX_TIME: Duration = Duration::from_secs(1);

    /// Reads a body until its end, or until [`MAX_BYTES`](Self::MAX_BYTES) or [`MAX_TIME`](Self::MAX_TIME) is
    /// reached. A body that is known to be larger is not read.
    ///
    /// It needs a tokio runtime.
    pub fn read(body: B) -> Reading<B> {
        Self::read_on(body, Arc::new(SystemClock::new()))
    }

    fn read_on(body: B, clock: Arc<dyn Clock>) -> Reading<B> {
        Reading {
            clock,
            is_too_large: body.size_hint().lower() > Self::MAX_BYTES as u64,
            body: Some(body),
            read: BytesMut::new(),
            timeout: None,
            done: None,
            way_back: None,
        }
    }

    fn unread(body: B) -> Self {
        Self {
            read: Bytes::new(),
            next: None,
            rest: Some(body),
        }
    }
}

impl<B: Body + Unpin> Body for ReadAhead<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if !this.read.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut this.read)))));
        }
        if let Some(next) = this.next.take() {
            return Poll::Ready(Some(next));
        }
        let Some(rest) = &mut this.rest else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(rest).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(into_bytes))))
    }

    fn is_end_stream(&self) -> bool {
        let rest_has_ended = self.rest.as_ref().is_none_or(B::is_end_stream);
        self.read.is_empty() && self.next.is_none() && rest_has_ended
    }

    fn size_hint(&self) -> SizeHint {
        let next = match &self.next {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        let read = (self.read.len() + next) as u64;
        let rest = self.rest.as_ref().map(B::size_hint).unwrap_or_default();
        let mut hint = SizeHint::new();
        match (rest.upper(), &self.rest) {
            (_, None) => hint.set_exact(read),
            (Some(upper), _) => {
                hint.set_upper(read.saturating_add(upper));
                hint.set_lower(read.saturating_add(rest.lower()));
            }
            (None, _) => hint.set_lower(read.saturating_add(rest.lower())),
        }
        hint
    }
}

impl<B: Body> fmt::Debug for ReadAhead<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadAhead")
            .field("read", &self.read.len())
            .field("is_whole", &self.rest.is_none())
            .finish_non_exhaustive()
    }
}

/// Reads a body ahead. [`ReadAhead::read`] makes it.
///
/// # Cancel safety
///
/// Dropping it drops the body.
pub struct Reading<B: Body> {
    /// Measures the times that it may take.
    clock: Arc<dyn Clock>,
    /// The body, until it was read.
    body: Option<B>,
    /// The body says of itself that it is too large.
    is_too_large: bool,
    read: BytesMut,
    /// Ends the reading. Made at the first wait, because most bodies are there with their head.
    timeout: Option<Sleep>,
    /// What was read, once it was.
    done: Option<ReadAhead<B>>,
    /// The time that a connection gets to return to its pool.
    way_back: Option<Sleep>,
}

impl<B: Body + Unpin> Future for Reading<B> {
    type Output = ReadAhead<B>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ReadAhead<B>> {
        let this = &mut *self;
        if this.done.is_none() {
            this.done = Some(ready!(this.poll_read(cx)));
        }
        if this.done.as_ref().is_some_and(|done| done.rest.is_none()) {
            let way_back = this
                .way_back
                .get_or_insert_with(|| this.clock.sleep(WAY_BACK));
            ready!(way_back.as_mut().poll(cx));
        }
        Poll::Ready(this.done.take().expect(POLLED_AGAIN))
    }
}

impl<B: Body + Unpin> Reading<B> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<ReadAhead<B>> {
        let body = self.body.as_mut().expect(POLLED_AGAIN);
        let mut next = None;
        let mut has_more = true;
        while !self.is_too_large {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => {
                    let timeout = self
                        .timeout
                        .get_or_insert_with(|| self.clock.sleep(ReadAhead::<B>::MAX_TIME));
                    ready!(timeout.as_mut().poll(cx));
                    break;
                }
                Poll::Ready(None) => {
                    has_more = false;
                    break;
                }
                Poll::Ready(Some(Err(error))) => {
                    next = Some(Err(error));
                    has_more = false;
                    break;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    // The bytes are copied, because a frame may keep a larger buffer of the connection.
                    Ok(data) if self.read.len() + data.remaining() <= ReadAhead::<B>::MAX_BYTES => {
                        self.read.put(data);
                    }
                    Ok(data) => {
                        next = Some(Ok(Frame::data(into_bytes(data))));
                        break;
                    }
                    Err(frame) => {
                        next = Some(Ok(frame.map_data(into_bytes)));
                        break;
                    }
                },
            }
        }
        Poll::Ready(ReadAhead {
            read: mem::take(&mut self.read).freeze(),
            next,
            rest: self
                .body
                .take()
                .filter(|body| has_more && !body.is_end_stream()),
        })
    }
}

/// The message of the panic if a future is polled again after it was ready.
const POLLED_AGAIN: &str = "`Reading` polled after it was ready";

impl<B: Body> fmt::Debug for Reading<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

fn into_bytes(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

#[cfg(test)]
mod tests;
