use std::collections::VecDeque;

use http::HeaderMap;
use tokio_test::{assert_pending, assert_ready, task};

use super::*;

/// A body that produces the frames that the test pushes; it is pending until the test ends it.
#[derive(Clone, Default)]
struct Source(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    frames: VecDeque<Result<Frame<Bytes>, &'static str>>,
    ended: bool,
    hint: SizeHint,
    waker: Option<Waker>,
}

impl Source {
    fn push(&self, frame: Result<Frame<Bytes>, &'static str>) {
        let mut script = self.0.lock().unwrap();
        script.frames.push_back(frame);
        if let Some(waker) = script.waker.take() {
            waker.wake();
        }
    }

    fn data(&self, data: &'static str) {
        self.push(Ok(Frame::data(data.into())));
    }

    fn end(&self) {
        self.0.lock().unwrap().ended = true;
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut script = self.0.lock().unwrap();
        match script.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(frame.map_err(Into::into))),
            None if script.ended => Poll::Ready(None),
            None => {
                script.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let script = self.0.lock().unwrap();
        script.ended && script.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap().hint
    }
}

type Spawned = task::Spawn<ReplayBody<Source>>;

fn recorded(source: &Source, cap: usize) -> (Spawned, Replay<Source>) {
    let mut replay = Replay::of(source, cap).unwrap();
    let body = replay.record(source.clone(), cap);
    (task::spawn(body), replay)
}

fn poll(body: &mut Spawned) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
    body.enter(|cx, body| body.poll_frame(cx))
}

fn next(body: &mut Spawned) -> Option<String> {
    let frame = assert_ready!(poll(body))?.expect("no error");
    Some(String::from_utf8(frame.into_data().expect("data").to_vec()).unwrap())
}

fn rest(body: &mut Spawned) -> Vec<String> {
    std::iter::from_fn(|| next(body)).collect()
}

#[test]
fn a_body_that_was_sent_whole_is_sent_again_whole() {
    let source = Source::default();
    source.0.lock().unwrap().hint = SizeHint::with_exact(6);
    for data in ["one", "two"] {
        source.data(data);
    }
    let (mut first, replay) = recorded(&source, 6);
    assert_eq!(first.size_hint().exact(), Some(6));
    source.end();
    source.0.lock().unwrap().hint = SizeHint::with_exact(0);
    assert_eq!(rest(&mut first), ["one", "two"]);
    drop(first);
    let mut again = task::spawn(replay.take().unwrap());
    assert_eq!(
        again.size_hint().exact(),
        Some(6),
        "it is framed as the first was"
    );
    assert!(!again.is_end_stream());
    assert_eq!(rest(&mut again), ["onetwo"], "small pieces are joined");
    assert!(again.is_end_stream());
}

#[test]
fn trailers_are_sent_again() {
    let source = Source::default();
    source.data("one");
    let trailers =
        HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
    source.push(Ok(Frame::trailers(trailers.clone())));
    let (mut first, replay) = recorded(&source, 1024);
    source.end();
    while assert_ready!(poll(&mut first)).is_some() {}
    let mut again = task::spawn(replay.take().unwrap());
    assert_eq!(again.size_hint().exact(), None, "unknown stays unknown");
    assert_eq!(next(&mut again).as_deref(), Some("one"));
    let frame = assert_ready!(poll(&mut again)).unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap(), trailers);
    assert!(assert_ready!(poll(&mut again)).is_none());
}

#[test]
fn a_retry_takes_an_unfinished_body_without_a_lost_or_doubled_byte() {
    let source = Source::default();
    source.data("one");
    let (mut first, replay) = recorded(&source, 64);
    assert_eq!(next(&mut first).as_deref(), Some("one"));
    assert_pending!(poll(&mut first));
    let mut again = task::spawn(replay.take().unwrap());
    assert!(
        first.is_woken(),
        "the first attempt learns that it lost the body"
    );
    let error = assert_ready!(poll(&mut first)).unwrap().unwrap_err();
    assert!(
        error.to_string().contains("this attempt is over"),
        "{error}"
    );
    assert!(!first.is_end_stream());
    assert_eq!(next(&mut again).as_deref(), Some("one"));
    assert_pending!(poll(&mut again));
    source.data("two");
    assert!(again.is_woken());
    source.end();
    assert_eq!(rest(&mut again), ["two"]);
}

#[test]
fn past_the_cap_nothing_is_recorded() {
    let source = Source::default();
    let (mut first, replay) = recorded(&source, 5);
    source.data("one");
    assert!(next(&mut first).is_some() && replay.check().is_ok());
    source.data("two");
    source.end();
    assert_eq!(rest(&mut first), ["two"], "the first attempt is not harmed");
    assert_eq!(replay.check(), Err(NotReplayable::TooLarge));
    assert_eq!(replay.take().unwrap_err(), NotReplayable::TooLarge);
}

#[test]
fn a_body_that_is_known_to_be_larger_is_not_recorded() {
    let source = Source::default();
    source.0.lock().unwrap().hint = SizeHint::with_exact(6);
    assert!(Replay::of(&source, 5).is_err());
    assert!(Replay::of(&source, 0).is_err());
    source.end();
    let mut replay = Replay::of(&source, 0).unwrap();
    let empty = replay.record(source, 0);
    assert!(empty.is_end_stream());
    assert!(replay.take().unwrap().is_end_stream());
}

#[test]
fn a_body_that_failed_is_not_sent_again() {
    let source = Source::default();
    source.push(Err("broken"));
    let (mut first, replay) = recorded(&source, 64);
    let error = assert_ready!(poll(&mut first)).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "broken");
    assert_eq!(replay.take().unwrap_err(), NotReplayable::Failed);
}

/// The bytes that are kept, and the memory that they take.
fn kept(replay: &Replay<Source>) -> Option<(usize, usize)> {
    let recorder = replay.recording.as_ref().unwrap().lock();
    let record = recorder.record.as_ref()?;
    Some((record.len(), record.capacity()))
}

#[test]
fn l37_many_small_pieces_take_no_more_memory_than_the_cap() {
    let source = Source::default();
    let (mut first, replay) = recorded(&source, 60_000);
    for _ in 0..20_000 {
        source.data("");
        source.data("abc");
    }
    source.end();
    while assert_ready!(poll(&mut first)).is_some() {}
    assert_eq!(kept(&replay), Some((60_000, 60_000)));
    let mut again = task::spawn(replay.take().unwrap());
    assert_eq!(rest(&mut again).concat(), "abc".repeat(20_000));
}

#[test]
fn l37_a_slice_of_a_large_buffer_does_not_keep_the_buffer() {
    let source = Source::default();
    let (mut first, replay) = recorded(&source, 1024);
    let large = Bytes::from(vec![b'x'; 1 << 20]);
    let address = large.as_ptr();
    source.push(Ok(Frame::data(large.slice(..1000))));
    drop(large);
    let sent = assert_ready!(poll(&mut first)).unwrap().unwrap();
    let sent = sent.into_data().unwrap();
    assert_eq!(sent.as_ptr(), address, "it is sent without a copy");
    assert!(sent.is_unique(), "only the connection still has it");
    assert_eq!(kept(&replay), Some((1000, 1000)));
}

#[test]
fn l37_trailers_are_copied_and_counted() {
    let name = "x".repeat(40);
    for (cap, fits) in [(3 + 40 + 50 + 127, false), (3 + 40 + 50 + 128, true)] {
        let source = Source::default();
        source.data("one");
        let buffer = Bytes::from(vec![b'v'; 1 << 20]);
        let value = http::HeaderValue::from_maybe_shared(buffer.slice(..50)).unwrap();
        let trailers = HeaderMap::from_iter([(name.parse().unwrap(), value)]);
        source.push(Ok(Frame::trailers(trailers)));
        source.end();
        let (mut first, replay) = recorded(&source, cap);
        while assert_ready!(poll(&mut first)).is_some() {}
        assert!(buffer.is_unique(), "nobody keeps it");
        assert_eq!(replay.check().is_ok(), fits, "{cap}");
    }
}

#[test]
fn l37_when_the_answer_has_come_nothing_is_kept() {
    let source = Source::default();
    source.data("one");
    let (mut first, replay) = recorded(&source, 1024);
    assert_eq!(next(&mut first).as_deref(), Some("one"));
    let recording = replay.recording.clone().unwrap();
    let is_kept = || recording.lock().record.is_some();
    assert!(is_kept());
    drop(replay);
    assert!(!is_kept());
    // The body goes on.
    source.data("two");
    source.end();
    assert_eq!(rest(&mut first), ["two"]);
    assert!(!is_kept());
}

#[test]
fn l37_an_answer_that_comes_while_the_body_is_polled_leaves_nothing_either() {
    /// A body whose poll drops what would send it again.
    struct Dropping(Arc<Mutex<Option<Replay<Dropping>>>>);

    impl Body for Dropping {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            drop(self.0.lock().unwrap().take());
            Poll::Ready(Some(Ok(Frame::data("one".into()))))
        }
    }

    let slot = Arc::new(Mutex::new(None));
    let body = Dropping(slot.clone());
    let mut replay = Replay::of(&body, 64).unwrap();
    let mut first = task::spawn(replay.record(body, 64));
    let recording = replay.recording.clone().unwrap();
    *slot.lock().unwrap() = Some(replay);
    assert!(assert_ready!(first.enter(|cx, body| body.poll_frame(cx))).is_some());
    assert!(recording.lock().record.is_none());
}

#[test]
fn with_a_cap_of_0_only_an_empty_body_is_sent_again() {
    // Its size is unknown, so it may be anything.
    let unknown = Source::default();
    assert_eq!(unknown.size_hint().lower(), 0);
    assert!(Replay::of(&unknown, 0).is_err());
    assert!(Replay::of(&unknown, 1).is_ok());
}

#[test]
fn the_size_of_a_retrys_body_is_known_if_the_firsts_was() {
    for exact in [true, false] {
        let source = Source::default();
        source.0.lock().unwrap().hint = match exact {
            true => SizeHint::with_exact(6),
            false => SizeHint::new(),
        };
        source.data("one");
        let (mut first, replay) = recorded(&source, 64);
        assert_eq!(first.size_hint().exact(), exact.then_some(6));
        assert_eq!(next(&mut first).as_deref(), Some("one"));
        // Also a stream may know its rest towards the end.
        source.0.lock().unwrap().hint = SizeHint::with_exact(3);
        let again = replay.take().unwrap();
        assert_eq!(again.size_hint().exact(), exact.then_some(6));
        assert_eq!(again.size_hint().lower(), 6);
    }
}

#[test]
fn a_body_that_goes_on_after_its_trailers_is_not_sent_again() {
    let source = Source::default();
    let trailers = HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]);
    source.push(Ok(Frame::trailers(trailers)));
    source.data("one");
    source.end();
    let (mut first, replay) = recorded(&source, 1024);
    while assert_ready!(poll(&mut first)).is_some() {}
    assert!(replay.check().is_err());
}
