use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use http::HeaderMap;
use tokio_test::{assert_pending, assert_ready, task};

use super::*;
use crate::clock::ManualClock;

type Frames = VecDeque<Result<Frame<Bytes>, &'static str>>;

/// A body that is pending where there is no frame, until it has ended.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<(Frames, bool, SizeHint)>>);

impl Script {
    fn of(frames: &[&'static [u8]], ended: bool) -> Self {
        let this = Self::default();
        for frame in frames {
            this.push(Ok(Frame::data(Bytes::from_static(frame))));
        }
        this.0.lock().unwrap().1 = ended;
        this
    }

    fn push(&self, frame: Result<Frame<Bytes>, &'static str>) {
        self.0.lock().unwrap().0.push_back(frame);
    }

    fn unread(&self) -> usize {
        self.0.lock().unwrap().0.len()
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let mut script = self.0.lock().unwrap();
        match script.0.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None if script.1 => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap().2
    }
}

async fn read(script: &Script) -> task::Spawn<ReadAhead<Script>> {
    task::spawn(ReadAhead::read(script.clone()).await)
}

fn next(body: &mut task::Spawn<ReadAhead<Script>>) -> Option<Result<Frame<Bytes>, &'static str>> {
    assert_ready!(body.enter(|cx, body| body.poll_frame(cx)))
}

fn data(body: &mut task::Spawn<ReadAhead<Script>>) -> Option<Bytes> {
    next(body).map(|frame| frame.unwrap().into_data().unwrap())
}

#[tokio::test]
async fn l06_a_body_is_read_to_its_end() {
    let script = Script::of(&[b"one", b"two"], true);
    let mut body = read(&script).await;
    assert!(body.rest.is_none(), "nothing of the connection is left");
    assert_eq!(body.size_hint().exact(), Some(6));
    assert!(!body.is_end_stream());
    assert_eq!(data(&mut body).unwrap(), "onetwo");
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(next(&mut body).is_none());
}

#[tokio::test]
async fn l06_a_body_that_does_not_end_is_read_for_a_second() {
    let script = Script::of(&[b"one"], false);
    let clock = ManualClock::new();
    let on = Arc::new(clock.clone());
    let mut reading = task::spawn(ReadAhead::read_on(script.clone(), on));
    assert_pending!(reading.poll());
    clock.advance(Duration::from_millis(900));
    assert_pending!(reading.poll());
    clock.advance(Duration::from_millis(101));
    let mut body = task::spawn(assert_ready!(reading.poll()));
    assert_eq!(body.size_hint().lower(), 3);
    assert_eq!(body.size_hint().upper(), None);
    assert_eq!(data(&mut body).unwrap(), "one");
    script.push(Ok(Frame::data("two".into())));
    assert_eq!(data(&mut body).unwrap(), "two");
    assert_pending!(body.enter(|cx, body| body.poll_frame(cx)));
    script.0.lock().unwrap().1 = true;
    assert!(next(&mut body).is_none());
}

#[tokio::test]
async fn l06_no_more_than_the_cap_is_read() {
    let chunk: &[u8] = &[b'x'; 40_000];
    let script = Script::of(&[chunk, chunk, chunk], true);
    let mut body = read(&script).await;
    assert_eq!(script.unread(), 1, "it stops past the cap");
    assert_eq!(body.size_hint().lower(), 80_000);
    let mut lengths = Vec::new();
    while let Some(data) = data(&mut body) {
        lengths.push(data.len());
    }
    assert_eq!(lengths, [40_000; 3]);
    // Exactly the cap is read.
    let full: &[u8] = &[b'x'; 64 * 1024];
    assert!(read(&Script::of(&[full], true)).await.rest.is_none());
}

#[tokio::test]
async fn l06_a_body_that_is_known_to_be_larger_is_not_read() {
    for (bytes, unread) in [(64 * 1024, 0), (64 * 1024 + 1, 1)] {
        let script = Script::of(&[b"one"], true);
        script.0.lock().unwrap().2 = SizeHint::with_exact(bytes);
        drop(read(&script).await);
        assert_eq!(script.unread(), unread, "{bytes}");
    }
}

#[tokio::test]
async fn l06_trailers_and_errors_come_after_what_was_read() {
    let script = Script::of(&[b"one"], true);
    let trailers = HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]);
    script.push(Ok(Frame::trailers(trailers.clone())));
    let mut body = read(&script).await;
    assert_eq!(data(&mut body).unwrap(), "one");
    let frame = next(&mut body).unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap(), trailers);
    assert!(next(&mut body).is_none());

    let script = Script::of(&[b"one"], true);
    script.push(Err("broken"));
    let mut body = read(&script).await;
    assert_eq!(data(&mut body).unwrap(), "one");
    assert_eq!(next(&mut body).unwrap().unwrap_err(), "broken");
    assert!(next(&mut body).is_none());
}

#[tokio::test]
async fn l06_only_rejections_are_read() {
    for (status, unread) in [(401, 0), (200, 1), (403, 1)] {
        let script = Script::of(&[b"one"], true);
        let inner = tower::service_fn(|_: Request<()>| {
            let response = Response::builder().status(status).header("x-kept", "1");
            let response = response.body(script.clone()).unwrap();
            async move { Ok::<_, std::convert::Infallible>(response) }
        });
        let mut service = ReadRejections::new(inner);
        let response = service.call(Request::new(())).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["x-kept"], "1");
        assert_eq!(script.unread(), unread, "{status}");
        let mut body = task::spawn(response.into_body());
        assert_eq!(data(&mut body).unwrap(), "one");
    }
}
