//! Counts how often a stream was flushed, so that a fault can wait until bytes have left the process.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{oneshot, watch},
};

/// Counts the flushes of one connection. After a flush, all bytes written before it are with the
/// operating system.
#[derive(Clone, Debug)]
pub(crate) struct FlushCounter(Arc<watch::Sender<u64>>);

impl Default for FlushCounter {
    fn default() -> Self {
        Self(Arc::new(watch::channel(0).0))
    }
}

impl FlushCounter {
    /// Wraps a stream to count its flushes.
    pub(crate) fn wrap<S>(&self, stream: S) -> CountedStream<S> {
        CountedStream {
            stream,
            flushes: self.clone(),
        }
    }

    /// Returns the same bytes, and a handle that waits until they have been flushed.
    pub(crate) fn track(&self, bytes: Bytes) -> (Bytes, PendingFlush) {
        let (written, was_written) = oneshot::channel();
        let tracked = TrackedBytes {
            bytes,
            flushes: self.clone(),
            written: Some(written),
        };
        let pending = PendingFlush {
            flushes: self.clone(),
            was_written,
        };
        (Bytes::from_owner(tracked), pending)
    }

    /// Returns the number of flushes so far.
    pub(crate) fn count(&self) -> u64 {
        *self.0.borrow()
    }

    /// Waits until there have been more than `count` flushes.
    pub(crate) async fn wait_past(&self, count: u64) {
        let mut changes = self.0.subscribe();
        // It fails only without a sender, and `self` holds one.
        let _flushed = changes.wait_for(|now| *now > count).await;
    }
}

/// A piece of a body. Hyper drops it when it has written it or copied it into a buffer, and flushes
/// after that.
struct TrackedBytes {
    bytes: Bytes,
    flushes: FlushCounter,
    written: Option<oneshot::Sender<u64>>,
}

impl AsRef<[u8]> for TrackedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for TrackedBytes {
    fn drop(&mut self) {
        if let Some(written) = self.written.take() {
            // It fails if the receiver is gone: only the last piece is waited for.
            let _unheard = written.send(self.flushes.count());
        }
    }
}

/// Waits until some bytes have been flushed.
pub(crate) struct PendingFlush {
    flushes: FlushCounter,
    was_written: oneshot::Receiver<u64>,
}

impl PendingFlush {
    pub(crate) async fn wait(self) {
        if let Ok(before) = self.was_written.await {
            self.flushes.wait_past(before).await;
        }
    }
}

/// A stream whose flushes are counted.
#[derive(Debug)]
pub(crate) struct CountedStream<S> {
    stream: S,
    flushes: FlushCounter,
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.flushes.0.send_modify(|count| *count += 1);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
