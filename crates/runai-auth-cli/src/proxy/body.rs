//! The body of an answer: the control plane's, as it comes, or a text of the proxy's own.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{connection::Activity, counts::Counts};

/// A request that is not over. The answer's body holds it, or the tunnel that it became.
#[derive(Debug)]
pub(crate) struct InFlight {
    counts: Arc<Counts>,
    activity: Arc<Activity>,
}

impl InFlight {
    pub(crate) fn begin(counts: Arc<Counts>, activity: Arc<Activity>) -> Self {
        counts.begun();
        activity.begun();
        Self { counts, activity }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counts.ended();
        self.activity.ended();
    }
}

#[derive(Debug)]
pub(crate) struct Outgoing {
    source: Source,
    in_flight: Option<InFlight>,
}

#[derive(Debug)]
enum Source {
    Stream(Incoming),
    Whole(Option<Bytes>),
}

impl Outgoing {
    pub(crate) fn stream(body: Incoming) -> Self {
        Self {
            source: Source::Stream(body),
            in_flight: None,
        }
    }

    pub(crate) fn whole(body: Bytes) -> Self {
        Self {
            source: Source::Whole((!body.is_empty()).then_some(body)),
            in_flight: None,
        }
    }

    /// Until it is over the request is in flight.
    pub(crate) fn holding(mut self, in_flight: InFlight) -> Self {
        self.in_flight = Some(in_flight);
        self
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.source {
            Source::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Source::Stream(body) => {
                let frame = Pin::new(body).poll_frame(cx);
                if let (Poll::Ready(Some(Err(_))), Some(it)) = (&frame, &self.in_flight) {
                    it.counts.broken();
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(body) => body.is_none(),
            Source::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            Source::Stream(body) => body.size_hint(),
        }
    }
}
