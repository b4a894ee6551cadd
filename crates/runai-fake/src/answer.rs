//! Answers, and bodies that are sent in pieces, cut off or never.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::{
    behaviour::{Behaviour, Fault},
    connection::Connection,
    endpoint_version::{Endpoint, EndpointVersion},
    flush_counter::Sent,
};

/// An answer before anything is done to it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) generation: Option<u64>,
    pub(crate) client: Option<String>,
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: content_type.into(),
            body: body.into(),
            headers: Vec::new(),
            generation: None,
            client: None,
        }
    }

    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// The documented error of the API and of v1.
    pub(crate) fn error(status: u16, message: &str) -> Self {
        Self::json(
            status,
            &serde_json::json!({"code": status, "message": message}),
        )
    }

    /// The error of RFC 6749, section 5.2, as v2 and Keycloak answer.
    pub(crate) fn oauth2(status: u16, error: &str, description: &str) -> Self {
        let body = serde_json::json!({"error": error, "error_description": description});
        Self::json(status, &body)
    }

    /// The documented error of that status, for that sort of endpoint.
    pub(crate) fn documented(status: u16, oauth2: bool) -> Self {
        let (code, text) = match status {
            400 => ("invalid_request", "Required parameter is missing"),
            401 if oauth2 => ("invalid_client", "Client authentication failed"),
            401 => ("invalid_client", "Issuer is not familiar."),
            403 => (
                "unauthorized_client",
                "You do not have sufficient permissions.",
            ),
            404 => ("invalid_request", "Resource id not found."),
            409 => ("invalid_request", "Resource with this name already exists"),
            503 => (
                "temporarily_unavailable",
                "Please try again in few minutes.",
            ),
            _ => ("server_error", "Something went wrong."),
        };
        match status {
            400..=499 if oauth2 => Self::oauth2(status, code, text),
            _ => Self::error(status, text),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn of(mut self, generation: Option<u64>, client: Option<String>) -> Self {
        self.generation = generation;
        self.client = client;
        self
    }

    /// What the behaviour says instead of the usual answer, if it says something.
    pub(crate) fn instead(behaviour: &Behaviour, endpoint: Endpoint) -> Option<Self> {
        // A body of its own is an answer of its own, as is a huge one, whether or not a status was told.
        let told = behaviour.body.is_some() || behaviour.huge.is_some();
        let status = behaviour.status.or(told.then_some(200))?;
        let oauth2 = matches!(
            endpoint.form(),
            Some(EndpointVersion::V2 | EndpointVersion::Keycloak)
        );
        let mut answer = Self::documented(status, oauth2);
        if let Some(body) = &behaviour.body {
            answer.body = body.clone().into();
        }
        if let Some(content_type) = &behaviour.content_type {
            answer.content_type.clone_from(content_type);
        }
        Some(answer)
    }

    /// The response with all that the behaviour does to it.
    pub(crate) fn into_response(
        self,
        behaviour: &Behaviour,
        date: &str,
        connection: &Connection,
    ) -> Response<Pieces> {
        let body = Pieces::new(self.body, behaviour, connection);
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let usual = [
            ("date".to_owned(), date.to_owned()),
            (
                "content-type".to_owned(),
                behaviour.content_type.clone().unwrap_or(self.content_type),
            ),
        ];
        let headers = response.headers_mut();
        for (name, value) in usual.iter().chain(&self.headers) {
            put(headers, name, value, false);
        }
        for (name, value) in &behaviour.headers {
            put(
                headers,
                name,
                value,
                behaviour
                    .headers
                    .iter()
                    .filter(|(other, _)| other == name)
                    .count()
                    > 1,
            );
        }
        if let Some(Fault::Truncate(_)) = behaviour.fault {
            let whole = response.body().announced.unwrap_or_default();
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, whole.into());
        }
        response
    }
}

/// A header that is none is left out: there is nobody to tell but the test, which then misses it.
fn put(headers: &mut http::HeaderMap, name: &str, value: &str, again: bool) {
    if matches!(name, "content-length" | "transfer-encoding") {
        return;
    }
    let name = HeaderName::try_from(name);
    let value = HeaderValue::try_from(value);
    if let (Ok(name), Ok(value)) = (name, value) {
        if again {
            headers.append(name, value);
        } else {
            headers.insert(name, value);
        }
    }
}

/// A body whose pieces come through a channel.
#[derive(Debug)]
pub(crate) struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    /// The length that is announced, where one is.
    announced: Option<u64>,
    whole: Option<Bytes>,
}

impl Pieces {
    fn new(body: Bytes, behaviour: &Behaviour, connection: &Connection) -> Self {
        let (sender, pieces) = mpsc::channel(1);
        let length = behaviour.huge.unwrap_or(body.len() as u64);
        let plain = behaviour.huge.is_none() && behaviour.drip_bytes.is_none();
        if plain && behaviour.fault.is_none() {
            return Self {
                pieces,
                announced: Some(length),
                whole: Some(body),
            };
        }
        let drip = Drip {
            body,
            length,
            piece: behaviour.drip_bytes.unwrap_or(64 * 1024).max(1),
            every: Duration::from_millis(behaviour.drip_every_ms),
            fault: behaviour.fault,
            before: connection.sent().flushes(),
            sent: connection.sent(),
        };
        tokio::spawn(drip.send(sender, connection.clone()));
        Self {
            pieces,
            announced: Some(length),
            whole: None,
        }
    }
}

struct Drip {
    body: Bytes,
    length: u64,
    piece: usize,
    every: Duration,
    fault: Option<Fault>,
    sent: Sent,
    /// How often the connection had been flushed before this answer.
    before: u64,
}

impl Drip {
    async fn send(self, sender: mpsc::Sender<Bytes>, connection: Connection) {
        if self.fault == Some(Fault::SilenceAfterHeaders) {
            return sender.closed().await;
        }
        let stop = match self.fault {
            Some(Fault::ResetAfter(bytes) | Fault::Truncate(bytes)) => bytes as u64,
            _ => u64::MAX,
        };
        let end = self.length.min(stop);
        let mut sent = 0;
        let mut last = None;
        while sent < end {
            let len = (end - sent).min(self.piece as u64);
            let (piece, on_its_way) = self.sent.watch(self.bytes(sent, len as usize));
            if sender.send(piece).await.is_err() {
                return;
            }
            last = Some(on_its_way);
            sent += len;
            if !self.every.is_zero() {
                tokio::time::sleep(self.every).await;
            }
        }
        if !matches!(self.fault, Some(Fault::ResetAfter(_) | Fault::Truncate(_))) {
            return;
        }
        // What is still in a buffer when the connection breaks is lost with it.
        let sent = async {
            match last {
                Some(last) => last.arrived().await,
                // There is no body, so the head is what has to leave.
                None => self.sent.flushed_after(self.before).await,
            }
        };
        tokio::select! {
            () = sent => {}
            () = sender.closed() => return,
        }
        if matches!(self.fault, Some(Fault::ResetAfter(_))) {
            connection.reset();
            sender.closed().await;
        }
    }

    /// A part of the body; of a huge one it is made up.
    fn bytes(&self, from: u64, len: usize) -> Bytes {
        let start = usize::try_from(from).unwrap_or(usize::MAX);
        match start.checked_add(len) {
            Some(end) if end <= self.body.len() => self.body.slice(start..end),
            _ => {
                let mut made_up = vec![b'x'; len];
                if from == 0 {
                    for (place, byte) in made_up.iter_mut().zip(b"{\"accessToken\":\"") {
                        *place = *byte;
                    }
                }
                made_up.into()
            }
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(whole) = self.whole.take() {
            let frame = (!whole.is_empty()).then(|| Ok(Frame::data(whole)));
            return Poll::Ready(frame);
        }
        self.pieces
            .poll_recv(cx)
            .map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.whole.as_ref().is_some_and(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.whole, self.announced) {
            (Some(whole), _) => SizeHint::with_exact(whole.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
