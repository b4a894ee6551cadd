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

use super::{answer::Answer, request::TokenRequest, secret::SecretText};
use crate::{error::BoxError, foreign_text::ForeignText};

const ANSWER_CAP: usize = Transport::ANSWER_CAP;

/// Why there is no answer. There is no third way for one to be missing, so the enum is exhaustive.
#[derive(Debug)]
pub enum TransportError {
    /// The exchange failed before the answer was complete.
    Broken(BrokenExchange),
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
            Self::Broken(error) => Some(error),
            Self::TooLarge => None,
        }
    }
}

/// Why an exchange broke off: the error of the HTTP client, safe to show.
///
/// Such an error may hold words of the other side: the debug data of an HTTP/2 `GOAWAY`, or the names in a
/// certificate. So each text in its chain is quoted, and one that repeats a secret of the request is not
/// shown. The error itself is not in the chain of [`source`](error::Error::source).
pub struct BrokenExchange {
    /// The texts of the error and of its causes, outermost first. One that repeats the next is left out.
    shown: Vec<ForeignText>,
    client_error: BoxError,
}

/// The most causes that are shown. An error chain has three to six.
const MAX_CAUSES: usize = 8;

impl BrokenExchange {
    /// Makes it of a client's error, without what repeats one of these secrets.
    #[must_use]
    pub fn new(client_error: BoxError, secrets: &[SecretText]) -> Self {
        let mut texts = Vec::<String>::new();
        let mut next: Option<&(dyn error::Error + 'static)> = Some(&*client_error);
        while let Some(error) = next {
            let text = error.to_string();
            // Many errors repeat their cause's text in their own.
            if texts.last().is_some_and(|last| last.contains(&text)) {
                texts.pop();
            }
            texts.push(text);
            next = error.source().filter(|_| texts.len() < MAX_CAUSES);
        }
        let shown = texts.iter().map(|text| {
            let secrets = secrets.iter().map(SecretText::expose_secret);
            ForeignText::without_secrets(text, secrets)
        });
        Self {
            shown: shown.collect(),
            client_error,
        }
    }

    /// Returns the text of the deepest cause, which names the reason. Those above it name layers.
    #[must_use]
    pub fn reason(&self) -> &ForeignText {
        // There is one text at least.
        &self.shown[self.shown.len() - 1]
    }

    /// Returns the error of the HTTP client, to ask for its type. Do not show its text: the other side may
    /// have written it.
    #[must_use]
    pub fn client_error(&self) -> &(dyn error::Error + Send + Sync + 'static) {
        &*self.client_error
    }
}

impl fmt::Display for BrokenExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, text) in self.shown.iter().enumerate() {
            let between = if index == 0 { "" } else { ": " };
            write!(f, "{between}{text}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for BrokenExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl error::Error for BrokenExchange {}

/// What went wrong, before the secrets of the request are known.
enum ReadError {
    Broken(BoxError),
    TooLarge,
}

type Read = Result<(StatusCode, HeaderMap, Zeroizing<Vec<u8>>), ReadError>;
type Sending = Pin<Box<dyn Future<Output = Read> + Send>>;

/// An HTTP client with its type erased: any tower service. It must not follow redirects, which would pass
/// a secret on. Clones are the same client.
#[derive(Clone)]
pub struct Transport {
    send: Arc<dyn Fn(Request<Full<Bytes>>) -> Sending + Send + Sync>,
    /// Secrets that the other side knows from earlier requests.
    secrets: Vec<SecretText>,
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
                ready.map_err(|error| ReadError::Broken(error.into()))?;
                let response = service.call(request).await;
                read(response.map_err(|error| ReadError::Broken(error.into()))?).await
            })
        };
        Self {
            send: Arc::new(send),
            secrets: Vec::new(),
        }
    }

    /// Returns the same client, whose answers and errors are shown without these secrets too. Take those
    /// that the other side knows from other requests: it may repeat them in any answer.
    #[must_use]
    pub fn without_secrets(&self, secrets: impl IntoIterator<Item = SecretText>) -> Self {
        let mut this = self.clone();
        this.secrets.extend(secrets);
        this
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
        let mut secrets = request.secrets.clone();
        secrets.extend(self.secrets.iter().cloned());
        let sent = (self.send)(request.into_http()).await;
        let (status, headers, body) = sent.map_err(|error| match error {
            ReadError::Broken(error) => {
                TransportError::Broken(BrokenExchange::new(error, &secrets))
            }
            ReadError::TooLarge => TransportError::TooLarge,
        })?;
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
        let frame = frame.map_err(|error| ReadError::Broken(error.into()))?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        if read.len() + data.remaining() > ANSWER_CAP {
            return Err(ReadError::TooLarge);
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
