//! The body of an answer.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use runai_auth::ResponseBody as UpstreamBody;

use super::in_flight::InFlight;

/// The control plane's body, as it arrives, or a text of the proxy's own.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    content: Content,
    in_flight: Option<InFlight>,
}

#[derive(Debug)]
enum Content {
    Stream(UpstreamBody),
    Whole(Option<Bytes>),
}

impl ResponseBody {
    pub(crate) fn stream(body: UpstreamBody) -> Self {
        Self {
            content: Content::Stream(body),
            in_flight: None,
        }
    }

    pub(crate) fn whole(body: Bytes) -> Self {
        Self {
            content: Content::Whole((!body.is_empty()).then_some(body)),
            in_flight: None,
        }
    }

    /// Keeps the request in flight until this body is sent or dropped.
    pub(crate) fn holding(mut self, in_flight: InFlight) -> Self {
        self.in_flight = Some(in_flight);
        self
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.content {
            Content::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Content::Stream(body) => {
                let frame = Pin::new(body).poll_frame(cx);
                if let (Poll::Ready(Some(Err(_))), Some(it)) = (&frame, &self.in_flight) {
                    it.upstream_failed();
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(body) => body.is_none(),
            Content::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            Content::Stream(body) => body.size_hint(),
        }
    }
}
