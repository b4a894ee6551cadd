//! The body of a response: sent whole, in pieces, in part, or never.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::{
    behaviour::{Behaviour, Fault},
    connection::{Connection, Ending},
    flush_counter::FlushCounter,
};

/// How a huge body begins.
const HUGE_START: &[u8] = b"{\"accessToken\":\"";
/// The size of the pieces of a body for which none is configured.
const PIECE: usize = 64 * 1024;

/// A body that is sent whole, or whose pieces come from a task.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    length: u64,
    /// The body, if it is sent whole.
    whole: Option<Bytes>,
    pieces: mpsc::Receiver<Bytes>,
}

impl ResponseBody {
    pub(crate) fn new(body: Bytes, behaviour: &Behaviour, connection: &Connection) -> Self {
        let (sender, pieces) = mpsc::channel(1);
        let length = behaviour.huge.unwrap_or(body.len() as u64);
        let in_pieces = behaviour.huge.is_some() || behaviour.drip_bytes.is_some();
        let whole = if in_pieces || behaviour.fault.is_some() {
            let task = SendPieces {
                body,
                length,
                piece: behaviour.drip_bytes.unwrap_or(PIECE).max(1),
                pause: Duration::from_millis(behaviour.drip_every_ms),
                fault: behaviour.fault,
                flushes: connection.flushes().clone(),
                flushed_before: connection.flushes().count(),
            };
            tokio::spawn(task.run(sender, connection.clone()));
            None
        } else {
            Some(body)
        };
        Self {
            length,
            whole,
            pieces,
        }
    }

    /// Returns the full length, whether or not all of it is sent.
    pub(crate) fn announced(&self) -> u64 {
        self.length
    }
}

/// The task that sends a body in pieces, and then does what the fault says.
struct SendPieces {
    body: Bytes,
    length: u64,
    piece: usize,
    pause: Duration,
    fault: Option<Fault>,
    flushes: FlushCounter,
    /// The connection's flushes before this response.
    flushed_before: u64,
}

impl SendPieces {
    async fn run(self, sender: mpsc::Sender<Bytes>, connection: Connection) {
        if self.fault == Some(Fault::SilenceAfterHeaders) {
            return sender.closed().await;
        }
        let stop = match self.fault {
            Some(Fault::ResetAfter(bytes) | Fault::Truncate(bytes)) => bytes as u64,
            _ => u64::MAX,
        };
        let end = self.length.min(stop);
        let mut sent = 0;
        let mut last = None;
        while sent < end {
            let len = (end - sent).min(self.piece as u64);
            let (piece, pending) = self.flushes.track(self.bytes(sent, len as usize));
            if sender.send(piece).await.is_err() {
                return;
            }
            last = Some(pending);
            sent += len;
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
        }
        if !matches!(self.fault, Some(Fault::ResetAfter(_) | Fault::Truncate(_))) {
            return;
        }
        // Bytes that are still in a buffer are lost when the connection ends, so wait for the flush.
        let flushed = async {
            match last {
                Some(pending) => pending.wait().await,
                // No byte of the body is sent, so the head must be flushed.
                None => self.flushes.wait_past(self.flushed_before).await,
            }
        };
        tokio::select! {
            () = flushed => {}
            () = sender.closed() => return,
        }
        if matches!(self.fault, Some(Fault::ResetAfter(_))) {
            connection.end(Ending::Reset);
            sender.closed().await;
        }
    }

    /// Returns a part of the body. The parts of a huge body are made up.
    fn bytes(&self, from: u64, len: usize) -> Bytes {
        let start = usize::try_from(from).unwrap_or(usize::MAX);
        match start.checked_add(len) {
            Some(end) if end <= self.body.len() => self.body.slice(start..end),
            _ => {
                let mut made_up = vec![b'x'; len];
                if from == 0 {
                    let start = len.min(HUGE_START.len());
                    made_up[..start].copy_from_slice(&HUGE_START[..start]);
                }
                made_up.into()
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(whole) = self.whole.take() {
            let frame = (!whole.is_empty()).then(|| Ok(Frame::data(whole)));
            return Poll::Ready(frame);
        }
        self.pieces
            .poll_recv(cx)
            .map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.whole.as_ref().is_some_and(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.whole {
            Some(whole) => SizeHint::with_exact(whole.len() as u64),
            None => SizeHint::default(),
        }
    }
}
