//! How a token request goes out, whatever client does it.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::ServiceExt;
use tower_bearer::BoxError;
use tower_service::Service;
use zeroize::Zeroizing;

/// The most that is read of an answer: 1 MiB. A token answer has a few kilobytes.
pub(crate) const ANSWER_CAP: usize = 1024 * 1024;

/// An answer, read whole. Its body may hold the token, so its memory is wiped.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It did not come, or broke off.
    Broken(BoxError),
    /// It was larger than the cap.
    TooLarge,
}

type Sending = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>>;

/// An HTTP client whose type is forgotten.
#[derive(Clone)]
pub(crate) struct Transport {
    send: Arc<dyn Fn(Request<Full<Bytes>>) -> Sending + Send + Sync>,
}

impl Transport {
    pub(crate) fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let send = move |request| -> Sending {
            let service = service.clone();
            Box::pin(async move {
                let response = service.oneshot(request).await;
                read(response.map_err(|error| Failure::Broken(error.into()))?).await
            })
        };
        Self {
            send: Arc::new(send),
        }
    }

    pub(crate) fn send(&self, request: Request<Full<Bytes>>) -> Sending {
        (self.send)(request)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

async fn read<B>(response: Response<B>) -> Result<Answer, Failure>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let (head, body) = response.into_parts();
    let expected = body.size_hint().upper().unwrap_or(16 * 1024);
    let mut read = Zeroizing::new(Vec::new());
    read.reserve(usize::try_from(expected).map_or(ANSWER_CAP, |len| len.min(ANSWER_CAP)));
    let mut body = std::pin::pin!(body);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Broken(error.into()))?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        if read.len() + data.remaining() > ANSWER_CAP {
            return Err(Failure::TooLarge);
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            read.extend_from_slice(chunk);
            let len = chunk.len();
            data.advance(len);
        }
    }
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: read,
    })
}
