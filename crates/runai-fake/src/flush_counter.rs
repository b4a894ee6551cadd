//! Whether bytes have left for the socket, so that a fault can come right after them.

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

/// What is known of the bytes of one connection: how often all that was written has been flushed.
#[derive(Clone, Debug)]
pub(crate) struct Sent(Arc<watch::Sender<u64>>);

impl Default for Sent {
    fn default() -> Self {
        Self(Arc::new(watch::channel(0).0))
    }
}

impl Sent {
    /// The stream, with its flushes counted.
    pub(crate) fn wrap<S>(&self, stream: S) -> Counted<S> {
        Counted {
            stream,
            sent: self.clone(),
        }
    }

    /// The same bytes, and a way to wait until they have left.
    pub(crate) fn watch(&self, bytes: Bytes) -> (Bytes, OnItsWay) {
        let (taken, was_taken) = oneshot::channel();
        let piece = Piece {
            bytes,
            sent: self.clone(),
            taken: Some(taken),
        };
        let on_its_way = OnItsWay {
            sent: self.clone(),
            was_taken,
        };
        (Bytes::from_owner(piece), on_its_way)
    }

    /// How often everything has been flushed so far.
    pub(crate) fn flushes(&self) -> u64 {
        *self.0.borrow()
    }

    /// Waits until there have been more flushes than so many.
    pub(crate) async fn flushed_after(&self, flushes: u64) {
        let mut changes = self.0.subscribe();
        // It fails only without a sender, and `self` is one.
        let _flushed = changes.wait_for(|now| *now > flushes).await;
    }
}

/// A piece of a body. Hyper drops it once it has written it or copied it into a buffer, and flushes after
/// that.
struct Piece {
    bytes: Bytes,
    sent: Sent,
    taken: Option<oneshot::Sender<u64>>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take() {
            // Most pieces are waited for by nobody.
            let _unheard = taken.send(self.sent.flushes());
        }
    }
}

/// Bytes that may not have left yet.
pub(crate) struct OnItsWay {
    sent: Sent,
    was_taken: oneshot::Receiver<u64>,
}

impl OnItsWay {
    /// Waits until they have.
    pub(crate) async fn arrived(self) {
        if let Ok(before) = self.was_taken.await {
            self.sent.flushed_after(before).await;
        }
    }
}

/// A stream whose flushes are counted.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    stream: S,
    sent: Sent,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
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
            self.sent.0.send_modify(|flushes| *flushes += 1);
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
