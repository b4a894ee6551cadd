//! What a connection is doing: whether it is idle, slow or busy.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock;

/// What a connection is doing.
#[derive(Debug)]
pub(crate) struct Activity {
    in_flight: AtomicUsize,
    /// When it was last in use.
    last_used: AtomicU64,
    /// When the first byte of a request's head came, plus one; 0 while none has.
    head_since: AtomicU64,
    is_http2: AtomicBool,
}

/// How long a connection may be idle, and how long a request's head may take.
#[derive(Debug)]
pub(crate) struct Timeouts {
    pub(crate) idle: Duration,
    pub(crate) header: Duration,
}

/// Whether a connection may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Keep,
    /// It has had no request for too long.
    Idle,
    /// A request's head takes too long.
    Slow,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            in_flight: AtomicUsize::new(0),
            last_used: AtomicU64::new(clock::monotonic_ms()),
            head_since: AtomicU64::new(0),
            is_http2: AtomicBool::new(false),
        }
    }

    pub(crate) fn speaks(&self, version: Version) {
        if version == Version::HTTP_2 {
            self.is_http2.store(true, Relaxed);
        }
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.is_http2.load(Relaxed)
    }

    pub(crate) fn request_began(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
    }

    pub(crate) fn request_ended(&self) {
        self.last_used.store(clock::monotonic_ms(), Relaxed);
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Returns true while a request is in flight or its head is arriving.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.load(Relaxed) > 0 || self.head_since.load(Relaxed) > 0
    }

    pub(crate) fn verdict(&self, now_ms: u64, timeouts: &Timeouts) -> Verdict {
        if self.in_flight.load(Relaxed) > 0 {
            return Verdict::Keep;
        }
        let is_over =
            |since, limit: Duration| u128::from(now_ms.saturating_sub(since)) >= limit.as_millis();
        let head_since = self.head_since.load(Relaxed);
        if head_since > 0 && !self.is_http2() && is_over(head_since - 1, timeouts.header) {
            return Verdict::Slow;
        }
        match is_over(self.last_used.load(Relaxed), timeouts.idle) {
            true => Verdict::Idle,
            false => Verdict::Keep,
        }
    }

    /// Returns true if bytes mean that the connection is in use. HTTP/2 has frames that belong to no request.
    fn do_bytes_count(&self) -> bool {
        self.in_flight.load(Relaxed) == 0 && !self.is_http2()
    }

    fn received(&self) {
        if self.do_bytes_count() && self.head_since.load(Relaxed) == 0 {
            self.head_since
                .store(clock::monotonic_ms().saturating_add(1), Relaxed);
        }
    }

    /// The rest of an answer may still be on its way to a slow caller.
    fn sent(&self) {
        if self.do_bytes_count() {
            self.last_used.store(clock::monotonic_ms(), Relaxed);
        }
    }
}

/// A stream that reports to the connection's [`Activity`] when bytes pass.
#[derive(Debug)]
pub(crate) struct Watched<I> {
    inner: I,
    activity: Arc<Activity>,
}

impl<I> Watched<I> {
    pub(crate) fn new(inner: I, activity: Arc<Activity>) -> Self {
        Self { inner, activity }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.received();
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        if written.is_ready() {
            self.activity.sent();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        if written.is_ready() {
            self.activity.sent();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
