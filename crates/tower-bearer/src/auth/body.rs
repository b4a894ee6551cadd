//! A request's body that can be sent once more.
//!
//! Frames are kept while the first attempt sends them, up to a cap, so the first attempt is not
//! delayed. A retry takes the body back under a lock: what was kept goes first, the rest of the
//! original follows, and the first attempt, should anybody still poll it, ends in an error.

use std::{
    error, fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::error::BoxError;

pin_project! {
    /// The body that [`BearerAuth`](crate::BearerAuth) hands to the inner service, around the caller's own.
    ///
    /// Its data is [`Bytes`] and its error is boxed, so that `Body::new` of axum and of tonic, and
    /// `BoxBody`, take it. A frame whose data is `Bytes` already is passed and kept without a copy.
    /// It is `Unpin` where `B` is.
    pub struct ReplayBody<B> {
        #[pin]
        inner: Inner<B>,
    }
}

pin_project! {
    #[project = InnerProj]
    enum Inner<B> {
        // There is nothing to send.
        Empty,
        // Sent once and not kept.
        Once { #[pin] body: B },
        // Kept while it is sent, up to the cap.
        Kept {
            shared: Arc<Shared<B>>,
            // Which attempt this is: only the latest may send.
            turn: u32,
            // How many of the kept frames this attempt has sent.
            sent: usize,
        },
    }
}

struct Shared<B>(Mutex<Keep<B>>);

struct Keep<B> {
    body: Pin<Box<B>>,
    /// The frames that have left the body so far; gone once they were more than the cap.
    frames: Option<Vec<Kept>>,
    /// The bytes in `frames`.
    bytes: usize,
    cap: usize,
    ended: bool,
    failed: bool,
    turn: u32,
    /// What the body said of its size at first: a retry says the same, so that it is framed alike.
    hint: SizeHint,
    /// The attempt that waits for the body, so that it learns when its turn is over.
    waker: Option<Waker>,
}

/// A piece of data that is smaller is copied, where there are many.
const SMALL: usize = 1024;

/// A kept frame. It cannot be [`Frame`], which does not clone.
#[derive(Clone)]
enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl From<Kept> for Frame<Bytes> {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Data(data) => Frame::data(data),
            Kept::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

/// What the retry needs to send the body again.
pub(crate) struct Replay<B> {
    kept: Option<Arc<Shared<B>>>,
}

/// Why a body cannot be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotReplayable {
    /// It is, or has become, larger than the cap.
    TooLarge,
    /// It failed while it was sent.
    Failed,
    /// Retries are turned off, for the layer or the request.
    TurnedOff,
}

impl NotReplayable {
    /// The reason as logs and metrics write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Failed => "failed",
            Self::TurnedOff => "turned_off",
        }
    }
}

impl<B: Body> ReplayBody<B> {
    /// A body that is sent once.
    pub(crate) fn once(body: B) -> Self {
        let inner = if body.is_end_stream() {
            Inner::Empty
        } else {
            Inner::Once { body }
        };
        Self { inner }
    }
}

impl<B: Body> Replay<B> {
    /// What a retry will need of a body of which up to `cap` bytes are kept: see [`keep`](Self::keep).
    ///
    /// # Errors
    ///
    /// If the body is known to be larger.
    pub(crate) fn of(body: &B, cap: usize) -> Result<Self, NotReplayable> {
        let fits = body.is_end_stream() || (cap > 0 && body.size_hint().lower() <= cap as u64);
        match fits {
            true => Ok(Self { kept: None }),
            false => Err(NotReplayable::TooLarge),
        }
    }

    /// The body for the first attempt, kept while it is sent.
    pub(crate) fn keep(&mut self, body: B, cap: usize) -> ReplayBody<B> {
        if body.is_end_stream() {
            return ReplayBody::default();
        }
        let hint = body.size_hint();
        let shared = Arc::new(Shared(Mutex::new(Keep {
            body: Box::pin(body),
            frames: Some(Vec::new()),
            bytes: 0,
            cap,
            ended: false,
            failed: false,
            turn: 0,
            hint,
            waker: None,
        })));
        self.kept = Some(shared.clone());
        ReplayBody {
            inner: Inner::Kept {
                shared,
                turn: 0,
                sent: 0,
            },
        }
    }
}

impl<B> Replay<B> {
    /// Takes the body back and gives it to a new attempt. It was given to [`keep`](Self::keep) before.
    pub(crate) fn take(self) -> Result<ReplayBody<B>, NotReplayable> {
        let Some(shared) = self.kept else {
            return Ok(ReplayBody::default());
        };
        let mut keep = shared.lock();
        keep.check()?;
        keep.turn += 1;
        let turn = keep.turn;
        let waker = keep.waker.take();
        drop(keep);
        // The attempt before this one learns that its turn is over.
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(ReplayBody {
            inner: Inner::Kept {
                shared,
                turn,
                sent: 0,
            },
        })
    }

    /// Whether the body could be taken back now.
    pub(crate) fn check(&self) -> Result<(), NotReplayable> {
        self.kept
            .as_ref()
            .map_or(Ok(()), |shared| shared.lock().check())
    }
}

impl<B> Shared<B> {
    fn lock(&self) -> MutexGuard<'_, Keep<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Keep<B> {
    fn check(&self) -> Result<(), NotReplayable> {
        match &self.frames {
            Some(_) => Ok(()),
            None if self.failed => Err(NotReplayable::Failed),
            None => Err(NotReplayable::TooLarge),
        }
    }

    /// Keeps a frame, or lets go of all if it would be more than the cap.
    fn keep(&mut self, frame: &Kept) {
        let Some(frames) = &mut self.frames else {
            return;
        };
        let len = match frame {
            Kept::Data(data) => data.len(),
            Kept::Trailers(trailers) => size_of_trailers(trailers),
        };
        self.bytes = self.bytes.saturating_add(len);
        if self.bytes > self.cap {
            self.frames = None;
            return;
        }
        match (frame, frames.last_mut()) {
            (Kept::Data(data), _) if data.is_empty() => {}
            // Many small pieces would cost more than their bytes, and may each keep a large buffer
            // alive, so they are put together.
            (Kept::Data(data), Some(Kept::Data(last)))
                if data.len() < SMALL && last.len() < SMALL =>
            {
                *last = [&last[..], &data[..]].concat().into();
            }
            (Kept::Data(data), Some(_)) if data.len() < SMALL => {
                frames.push(Kept::Data(Bytes::copy_from_slice(data)));
            }
            _ => frames.push(frame.clone()),
        }
    }
}

impl<B> Keep<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// The next frame of the original, kept on its way out.
    fn poll_original(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match self.body.as_mut().poll_frame(cx) {
            Poll::Pending => {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(None) => {
                self.ended = true;
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => {
                self.failed = true;
                self.frames = None;
                return Poll::Ready(Some(Err(error.into())));
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        match into_bytes(frame) {
            Ok(kept) => {
                self.keep(&kept);
                Poll::Ready(Some(Ok(kept.into())))
            }
            Err(unknown) => {
                // A kind of frame that this crate does not know is passed on, and cannot be kept.
                self.frames = None;
                Poll::Ready(Some(Ok(unknown)))
            }
        }
    }

    fn size_hint(&self, sent: usize) -> SizeHint {
        let frames = self.frames.as_deref().unwrap_or_default();
        let waiting: usize = frames[sent.min(frames.len())..]
            .iter()
            .map(|frame| match frame {
                Kept::Data(data) => data.len(),
                Kept::Trailers(_) => 0,
            })
            .sum();
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        match (self.hint.exact(), rest.exact()) {
            (Some(_), Some(rest)) => hint.set_exact(waiting as u64 + rest),
            _ => hint.set_lower((waiting as u64).saturating_add(rest.lower())),
        }
        hint
    }
}

fn into_bytes<D: Buf>(frame: Frame<D>) -> Result<Kept, Frame<Bytes>> {
    match frame.into_data() {
        Ok(mut data) => Ok(Kept::Data(data.copy_to_bytes(data.remaining()))),
        Err(frame) => match frame.into_trailers() {
            Ok(trailers) => Ok(Kept::Trailers(trailers)),
            Err(unknown) => Err(unknown.map_data(|mut data| data.copy_to_bytes(data.remaining()))),
        },
    }
}

fn size_of_trailers(trailers: &HeaderMap) -> usize {
    trailers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

impl<B> Body for ReplayBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().inner.project() {
            InnerProj::Empty => Poll::Ready(None),
            InnerProj::Once { body } => body.poll_frame(cx).map(|frame| {
                let frame = frame?.map(|frame| into_bytes(frame).map_or_else(|it| it, Frame::from));
                Some(frame.map_err(Into::into))
            }),
            InnerProj::Kept { shared, turn, sent } => {
                let mut keep = shared.lock();
                if keep.turn != *turn {
                    return Poll::Ready(Some(Err(Taken.into())));
                }
                if let Some(kept) = keep.frames.as_ref().and_then(|frames| frames.get(*sent)) {
                    *sent += 1;
                    return Poll::Ready(Some(Ok(kept.clone().into())));
                }
                let frame = keep.poll_original(cx);
                *sent = keep.frames.as_ref().map_or(*sent, Vec::len);
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Empty => true,
            Inner::Once { body } => body.is_end_stream(),
            Inner::Kept { shared, turn, sent } => {
                let keep = shared.lock();
                let all_sent = keep
                    .frames
                    .as_ref()
                    .is_none_or(|frames| *sent >= frames.len());
                keep.turn == *turn && all_sent && (keep.ended || keep.body.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Once { body } => body.size_hint(),
            Inner::Kept { shared, sent, .. } => shared.lock().size_hint(*sent),
        }
    }
}

/// An empty body: what a client sends that was redirected to `GET`.
impl<B> Default for ReplayBody<B> {
    fn default() -> Self {
        Self {
            inner: Inner::Empty,
        }
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match &self.inner {
            Inner::Empty => "empty",
            Inner::Once { .. } => "once",
            Inner::Kept { .. } => "kept",
        };
        f.debug_tuple("ReplayBody").field(&how).finish()
    }
}

impl fmt::Display for NotReplayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the request's body is larger than what is kept for a retry",
            Self::Failed => "the request's body failed while it was sent",
            Self::TurnedOff => "sending it again is turned off",
        })
    }
}

/// The body was taken back for a retry while the first attempt was still sending it.
#[derive(Debug)]
struct Taken;

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request is sent again with a new token; this attempt is over")
    }
}

impl error::Error for Taken {}

#[cfg(test)]
mod tests;
