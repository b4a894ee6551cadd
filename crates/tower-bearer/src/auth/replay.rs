//! A request body that can be sent twice.
//!
//! The first attempt records the frames while it sends them, up to a cap, so it is not delayed. A retry
//! takes the body over under a lock: it sends the recorded frames, then the rest of the original. If the
//! first attempt is still polled, it ends in an error.

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
    /// The body that [`BearerAuth`](crate::BearerAuth) hands to the inner service. It wraps the caller's body.
    ///
    /// Its data is [`Bytes`] and its error is boxed, so `Body::new` of axum and of tonic, and `BoxBody`,
    /// accept it. A frame whose data is `Bytes` already is passed on and recorded without a copy.
    /// It is `Unpin` if `B` is.
    pub struct ReplayBody<B> {
        #[pin]
        mode: Mode<B>,
    }
}

pin_project! {
    #[project = ModeProj]
    enum Mode<B> {
        // There is nothing to send.
        Empty,
        // Sent once and not recorded.
        Once { #[pin] body: B },
        // Recorded while it is sent, up to the cap.
        Recorded {
            recording: Arc<Recording<B>>,
            // The number of this attempt: only the latest one may send.
            attempt: u32,
            // How many of the recorded frames this attempt has sent.
            sent: usize,
        },
    }
}

/// A body that both attempts share.
struct Recording<B>(Mutex<Recorder<B>>);

struct Recorder<B> {
    /// The caller's body.
    body: Pin<Box<B>>,
    /// The frames that the body has produced so far; `None` once they exceeded the cap, or the body failed.
    frames: Option<Vec<RecordedFrame>>,
    /// The bytes in `frames`.
    bytes: usize,
    /// The most bytes that `frames` may have.
    cap: usize,
    /// The body has produced its last frame.
    ended: bool,
    /// The body has produced an error.
    failed: bool,
    /// The number of the attempt that may send.
    attempt: u32,
    /// The body's size hint before the first attempt. A retry gives the same, so both are framed alike.
    hint: SizeHint,
    /// Wakes the attempt that waits for the body, when a later attempt takes the body over.
    waker: Option<Waker>,
}

/// Smaller pieces of data, in bytes, are joined by copying.
const SMALL: usize = 1024;

/// A recorded frame. [`Frame`] itself cannot be cloned.
#[derive(Clone)]
enum RecordedFrame {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl From<RecordedFrame> for Frame<Bytes> {
    fn from(frame: RecordedFrame) -> Self {
        match frame {
            RecordedFrame::Data(data) => Frame::data(data),
            RecordedFrame::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

/// Gives the body to a retry.
pub(super) struct Replay<B> {
    /// `None` if the body is empty.
    recording: Option<Arc<Recording<B>>>,
}

/// Why a request cannot be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotReplayable {
    /// Its body is larger than the layer's replay limit.
    TooLarge,
    /// Its body failed while it was sent.
    Failed,
    /// Retries are turned off, for the layer or for the request.
    TurnedOff,
}

impl NotReplayable {
    /// Returns the reason as logs and metrics show it.
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
    /// Wraps a body that is sent once.
    pub(super) fn once(body: B) -> Self {
        let mode = match body.is_end_stream() {
            true => Mode::Empty,
            false => Mode::Once { body },
        };
        Self { mode }
    }
}

impl<B: Body> Replay<B> {
    /// Prepares to send `body` twice; [`record`](Self::record) must follow.
    ///
    /// # Errors
    ///
    /// If the body is known to be larger than `cap` bytes.
    pub(super) fn of(body: &B, cap: usize) -> Result<Self, NotReplayable> {
        let fits = body.is_end_stream() || (cap > 0 && body.size_hint().lower() <= cap as u64);
        match fits {
            true => Ok(Self { recording: None }),
            false => Err(NotReplayable::TooLarge),
        }
    }

    /// Returns the body for the first attempt, which records up to `cap` bytes of it.
    pub(super) fn record(&mut self, body: B, cap: usize) -> ReplayBody<B> {
        if body.is_end_stream() {
            return ReplayBody::default();
        }
        let hint = body.size_hint();
        let recording = Arc::new(Recording(Mutex::new(Recorder {
            body: Box::pin(body),
            frames: Some(Vec::new()),
            bytes: 0,
            cap,
            ended: false,
            failed: false,
            attempt: 0,
            hint,
            waker: None,
        })));
        self.recording = Some(recording.clone());
        ReplayBody {
            mode: Mode::Recorded {
                recording,
                attempt: 0,
                sent: 0,
            },
        }
    }
}

impl<B> Replay<B> {
    /// Takes the body from the attempt that has it and returns it for the next one.
    ///
    /// # Errors
    ///
    /// If the body was not recorded whole.
    pub(super) fn take(self) -> Result<ReplayBody<B>, NotReplayable> {
        let Some(recording) = self.recording else {
            return Ok(ReplayBody::default());
        };
        let mut recorder = recording.lock();
        recorder.check()?;
        recorder.attempt += 1;
        let attempt = recorder.attempt;
        let waker = recorder.waker.take();
        drop(recorder);
        // The earlier attempt must learn that it lost the body: it may wait for a frame.
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(ReplayBody {
            mode: Mode::Recorded {
                recording,
                attempt,
                sent: 0,
            },
        })
    }

    /// Checks whether [`take`](Self::take) would succeed now.
    pub(super) fn check(&self) -> Result<(), NotReplayable> {
        self.recording
            .as_ref()
            .map_or(Ok(()), |recording| recording.lock().check())
    }
}

impl<B> Recording<B> {
    fn lock(&self) -> MutexGuard<'_, Recorder<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Recorder<B> {
    fn check(&self) -> Result<(), NotReplayable> {
        match &self.frames {
            Some(_) => Ok(()),
            None if self.failed => Err(NotReplayable::Failed),
            None => Err(NotReplayable::TooLarge),
        }
    }

    /// Records a frame, or drops all recorded frames if they would exceed the cap.
    fn record(&mut self, frame: &RecordedFrame) {
        let Some(frames) = &mut self.frames else {
            return;
        };
        let len = match frame {
            RecordedFrame::Data(data) => data.len(),
            RecordedFrame::Trailers(trailers) => size_of_trailers(trailers),
        };
        self.bytes = self.bytes.saturating_add(len);
        if self.bytes > self.cap {
            self.frames = None;
            return;
        }
        match (frame, frames.last_mut()) {
            (RecordedFrame::Data(data), _) if data.is_empty() => {}
            // Many small pieces would cost more than their bytes, and each may keep a large buffer
            // alive, so they are joined.
            (RecordedFrame::Data(data), Some(RecordedFrame::Data(last)))
                if data.len() < SMALL && last.len() < SMALL =>
            {
                *last = [&last[..], &data[..]].concat().into();
            }
            (RecordedFrame::Data(data), Some(_)) if data.len() < SMALL => {
                frames.push(RecordedFrame::Data(Bytes::copy_from_slice(data)));
            }
            _ => frames.push(frame.clone()),
        }
    }
}

impl<B> Recorder<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// Polls the original body for its next frame and records it.
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
            Ok(frame) => {
                self.record(&frame);
                Poll::Ready(Some(Ok(frame.into())))
            }
            Err(unknown) => {
                // A kind of frame that this crate does not know can be passed on, but not recorded.
                self.frames = None;
                Poll::Ready(Some(Ok(unknown)))
            }
        }
    }

    fn size_hint(&self, sent: usize) -> SizeHint {
        let frames = self.frames.as_deref().unwrap_or_default();
        let unsent: usize = frames[sent.min(frames.len())..]
            .iter()
            .map(|frame| match frame {
                RecordedFrame::Data(data) => data.len(),
                RecordedFrame::Trailers(_) => 0,
            })
            .sum();
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        match (self.hint.exact(), rest.exact()) {
            (Some(_), Some(rest)) => hint.set_exact(unsent as u64 + rest),
            _ => hint.set_lower((unsent as u64).saturating_add(rest.lower())),
        }
        hint
    }
}

fn into_bytes<D: Buf>(frame: Frame<D>) -> Result<RecordedFrame, Frame<Bytes>> {
    match frame.into_data() {
        Ok(mut data) => Ok(RecordedFrame::Data(data.copy_to_bytes(data.remaining()))),
        Err(frame) => match frame.into_trailers() {
            Ok(trailers) => Ok(RecordedFrame::Trailers(trailers)),
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
        match self.project().mode.project() {
            ModeProj::Empty => Poll::Ready(None),
            ModeProj::Once { body } => body.poll_frame(cx).map(|frame| {
                let frame = frame?.map(|frame| into_bytes(frame).map_or_else(|it| it, Frame::from));
                Some(frame.map_err(Into::into))
            }),
            ModeProj::Recorded {
                recording,
                attempt,
                sent,
            } => {
                let mut recorder = recording.lock();
                if recorder.attempt != *attempt {
                    return Poll::Ready(Some(Err(Taken.into())));
                }
                let recorded = recorder.frames.as_ref();
                if let Some(frame) = recorded.and_then(|frames| frames.get(*sent)) {
                    *sent += 1;
                    return Poll::Ready(Some(Ok(frame.clone().into())));
                }
                let frame = recorder.poll_original(cx);
                *sent = recorder.frames.as_ref().map_or(*sent, Vec::len);
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.mode {
            Mode::Empty => true,
            Mode::Once { body } => body.is_end_stream(),
            Mode::Recorded {
                recording,
                attempt,
                sent,
            } => {
                let recorder = recording.lock();
                let recorded = recorder.frames.as_ref();
                recorder.attempt == *attempt
                    && recorded.is_none_or(|frames| *sent >= frames.len())
                    && (recorder.ended || recorder.body.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.mode {
            Mode::Empty => SizeHint::with_exact(0),
            Mode::Once { body } => body.size_hint(),
            Mode::Recorded {
                recording, sent, ..
            } => recording.lock().size_hint(*sent),
        }
    }
}

/// Returns an empty body. A client that follows a redirect to `GET` sends one.
impl<B> Default for ReplayBody<B> {
    fn default() -> Self {
        Self { mode: Mode::Empty }
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match &self.mode {
            Mode::Empty => "empty",
            Mode::Once { .. } => "once",
            Mode::Recorded { .. } => "recorded",
        };
        f.debug_tuple("ReplayBody").field(&how).finish()
    }
}

impl fmt::Display for NotReplayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the request's body is larger than what is kept for a retry",
            Self::Failed => "the request's body failed while it was sent",
            Self::TurnedOff => "retries are turned off",
        })
    }
}

/// The error of an attempt whose body a retry has taken.
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
