//! A request body that can be sent twice.
//!
//! The first attempt copies the data while it sends them, up to a cap, so it is not delayed. A retry takes the body
//! over under a lock: it sends the copy, then the rest of the original. If the first attempt is still polled, it
//! ends in an error.
//!
//! The data are copied, because a frame may be a small slice of a large buffer, which it would keep. When there is no
//! retry any more, the copy goes at once, although the body may still be under way.

use std::{
    error, fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::record::Record;
use crate::error::BoxError;

pin_project! {
    /// The body that [`BearerAuth`](crate::BearerAuth) hands to the inner service. It wraps the caller's body.
    ///
    /// Its data is [`Bytes`] and its error is boxed, so `Body::new` of axum and of tonic, and `BoxBody`,
    /// accept it. A frame whose data is `Bytes` already is passed on as it is. It is `Unpin` if `B` is.
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
            // This is the retry: only the latest attempt may send.
            is_retry: bool,
            // What was recorded, as far as the retry has not sent it; nothing in the first attempt.
            unsent: Record,
        },
    }
}

/// A body that both attempts share.
struct Recording<B> {
    /// A retry is still possible, so the data are kept.
    is_wanted: AtomicBool,
    recorder: Mutex<Recorder<B>>,
}

struct Recorder<B> {
    /// The caller's body.
    body: Pin<Box<B>>,
    /// What the body has produced so far; `None` once it exceeded the cap, the body failed, or nobody wants it.
    record: Option<Record>,
    /// The most bytes that `record` may have.
    cap: usize,
    /// The body has produced its last frame.
    ended: bool,
    /// The body has produced an error.
    failed: bool,
    /// A retry has taken the body over.
    taken: bool,
    /// The body's size was known before the first attempt. A retry gives it too, so both are framed alike.
    size_is_known: bool,
    /// Wakes the attempt that waits for the body, when a later attempt takes the body over.
    waker: Option<Waker>,
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
        let recording = Arc::new(Recording {
            is_wanted: AtomicBool::new(true),
            recorder: Mutex::new(Recorder {
                body: Box::pin(body),
                record: Some(Record::default()),
                cap,
                ended: false,
                failed: false,
                taken: false,
                size_is_known: hint.exact().is_some(),
                waker: None,
            }),
        });
        self.recording = Some(recording.clone());
        ReplayBody {
            mode: Mode::Recorded {
                recording,
                is_retry: false,
                unsent: Record::default(),
            },
        }
    }
}

impl<B> Replay<B> {
    /// Takes the body from the first attempt and returns it for the retry.
    ///
    /// # Errors
    ///
    /// If the body was not recorded whole.
    pub(super) fn take(mut self) -> Result<ReplayBody<B>, NotReplayable> {
        let Some(recording) = self.recording.take() else {
            return Ok(ReplayBody::default());
        };
        let mut recorder = recording.lock();
        recorder.check()?;
        let unsent = recorder.record.take().unwrap_or_default();
        recorder.taken = true;
        let waker = recorder.waker.take();
        drop(recorder);
        // The earlier attempt must learn that it lost the body: it may wait for a frame.
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(ReplayBody {
            mode: Mode::Recorded {
                recording,
                is_retry: true,
                unsent,
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

// Without a retry, nothing is kept any more.
impl<B> Drop for Replay<B> {
    fn drop(&mut self) {
        if let Some(recording) = &self.recording {
            recording.is_wanted.store(false, Ordering::SeqCst);
            recording.tidy_up();
        }
    }
}

impl<B> Recording<B> {
    fn lock(&self) -> MutexGuard<'_, Recorder<B>> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what was recorded, if nobody wants it.
    ///
    /// It does not wait for the lock: whoever holds it polls the caller's body, which may have led here, and tidies
    /// up afterwards.
    fn tidy_up(&self) {
        if self.is_wanted.load(Ordering::SeqCst) {
            return;
        }
        let mut recorder = match self.recorder.try_lock() {
            Ok(recorder) => recorder,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        recorder.record = None;
    }
}

impl<B> Recorder<B> {
    fn check(&self) -> Result<(), NotReplayable> {
        match &self.record {
            Some(_) => Ok(()),
            None if self.failed => Err(NotReplayable::Failed),
            None => Err(NotReplayable::TooLarge),
        }
    }

    /// Records a frame, or drops the record if it would exceed the cap.
    fn record(&mut self, frame: &Frame<Bytes>) {
        let cap = self.cap;
        let fits = |record: &mut Record| record.add(frame, cap);
        if !self.record.as_mut().is_some_and(fits) {
            self.record = None;
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
                self.record = None;
                return Poll::Ready(Some(Err(error.into())));
            }
            Poll::Ready(Some(Ok(frame))) => frame.map_data(into_bytes),
        };
        self.record(&frame);
        Poll::Ready(Some(Ok(frame)))
    }

    /// Returns the size of what is left of the body, after `unsent` bytes of the record.
    fn size_hint(&self, unsent: usize) -> SizeHint {
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        match rest.exact() {
            Some(rest) if self.size_is_known => hint.set_exact(unsent as u64 + rest),
            _ => hint.set_lower((unsent as u64).saturating_add(rest.lower())),
        }
        hint
    }
}

fn into_bytes(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
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
                let frame = frame?.map(|frame| frame.map_data(into_bytes));
                Some(frame.map_err(Into::into))
            }),
            ModeProj::Recorded {
                recording,
                is_retry,
                unsent,
            } => {
                if let Some(frame) = unsent.next() {
                    return Poll::Ready(Some(Ok(frame)));
                }
                let mut recorder = recording.lock();
                if recorder.taken != *is_retry {
                    return Poll::Ready(Some(Err(Taken.into())));
                }
                let frame = recorder.poll_original(cx);
                drop(recorder);
                recording.tidy_up();
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
                is_retry,
                unsent,
            } => {
                let recorder = recording.lock();
                recorder.taken == *is_retry
                    && unsent.is_empty()
                    && (recorder.ended || recorder.body.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.mode {
            Mode::Empty => SizeHint::with_exact(0),
            Mode::Once { body } => body.size_hint(),
            Mode::Recorded {
                recording, unsent, ..
            } => recording.lock().size_hint(unsent.len()),
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
