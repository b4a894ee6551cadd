//! The body of a caller's request.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::{runtime::Handle, time::timeout};

/// How much of a body is read that nobody wants, and for how long.
const UNWANTED: usize = 1024 * 1024;
const UNWANTED_TIME: Duration = Duration::from_secs(10);

/// It is read to its end even if the answer comes sooner: a connection that is closed with bytes unread
/// is reset, and many callers then never see the answer.
#[derive(Debug)]
pub(crate) struct CallersBody {
    inner: Option<Incoming>,
    /// Whether the caller sends it. One who sent `Expect` does so only when it is asked for.
    is_coming: bool,
}

impl CallersBody {
    pub(crate) fn new(inner: Incoming, headers: &HeaderMap) -> Self {
        Self {
            inner: Some(inner),
            is_coming: !headers.contains_key(header::EXPECT),
        }
    }
}

impl Drop for CallersBody {
    fn drop(&mut self) {
        let Some(rest) = self.inner.take() else {
            return;
        };
        if rest.is_end_stream() || !self.is_coming {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let read = Limited::new(rest, UNWANTED).collect();
                // Whatever it comes to, nobody wants it.
                let _read = timeout(UNWANTED_TIME, read).await;
            });
        }
    }
}

impl Body for CallersBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_coming = true;
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(inner).poll_frame(cx);
        if let Poll::Ready(None | Some(Err(_))) = frame {
            // Nothing is left to read.
            self.inner = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}
