//! Sends token requests over any HTTP client.

use std::{
    error, fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower_service::Service;
use zeroize::Zeroizing;

use super::{answer::Answer, request::TokenRequest};
use crate::error::BoxError;

const ANSWER_CAP: usize = Transport::ANSWER_CAP;

/// Why there is no answer. There is no third way for one to be missing, so the enum is exhaustive.
#[derive(Debug)]
pub enum TransportError {
    /// The exchange failed before the answer was complete.
    Broken(BoxError),
    /// The answer was larger than [`Transport::ANSWER_CAP`].
    TooLarge,
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(_) => f.write_str("the exchange broke off"),
            Self::TooLarge => write!(f, "the answer has more than {} KiB", ANSWER_CAP / 1024),
        }
    }
}

impl error::Error for TransportError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Broken(error) => Some(&**error),
            Self::TooLarge => None,
        }
    }
}

type Read = Result<(StatusCode, HeaderMap, Zeroizing<Vec<u8>>), TransportError>;
type Sending = Pin<Box<dyn Future<Output = Read> + Send>>;

/// An HTTP client with its type erased: any tower service. It must not follow redirects, which would pass
/// a secret on. Clones are the same client.
#[derive(Clone)]
pub struct Transport {
    send: Arc<dyn Fn(Request<Full<Bytes>>) -> Sending + Send + Sync>,
}

impl Transport {
    /// The most that is read of an answer, in bytes: 1 MiB. A token answer has a few kilobytes.
    pub const ANSWER_CAP: usize = 1024 * 1024;

    /// Erases a service's type.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let send = move |request| -> Sending {
            let mut service = service.clone();
            Box::pin(async move {
                let ready = poll_fn(|cx| service.poll_ready(cx)).await;
                ready.map_err(|error| TransportError::Broken(error.into()))?;
                let response = service.call(request).await;
                read(response.map_err(|error| TransportError::Broken(error.into()))?).await
            })
        };
        Self {
            send: Arc::new(send),
        }
    }

    /// Sends a request, and reads the whole answer.
    ///
    /// # Errors
    ///
    /// If no whole answer came, or if it was too large.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the request. The server may have processed it.
    pub async fn send(&self, request: TokenRequest) -> Result<Answer, TransportError> {
        let secrets = request.secrets.clone();
        let (status, headers, body) = (self.send)(request.into_http()).await?;
        Ok(Answer {
            status,
            headers,
            body,
            secrets,
        })
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

async fn read<B>(response: Response<B>) -> Read
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
        let frame = frame.map_err(|error| TransportError::Broken(error.into()))?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        if read.len() + data.remaining() > ANSWER_CAP {
            return Err(TransportError::TooLarge);
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            read.extend_from_slice(chunk);
            let len = chunk.len();
            data.advance(len);
        }
    }
    Ok((head.status, head.headers, read))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_up_to_the_cap_and_not_beyond() {
        for (len, is_read) in [(ANSWER_CAP, true), (ANSWER_CAP + 1, false)] {
            let transport = Transport::new(tower::service_fn(move |_: Request<Full<Bytes>>| {
                // A body whose length is not known before it is read.
                let body = Full::new(Bytes::from(vec![b' '; len])).map_frame(|frame| frame);
                async move { Ok::<_, Infallible>(Response::new(body)) }
            }));
            let request = TokenRequest::get("https://idp.example/".parse().unwrap());
            match transport.send(request).await {
                Ok(answer) => assert!(is_read && answer.expose_body().len() == len),
                Err(error) => {
                    assert!(
                        !is_read && matches!(error, TransportError::TooLarge),
                        "{error}"
                    );
                }
            }
        }
    }
}
