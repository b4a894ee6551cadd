//! From a request to its answer.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::{
    answer::{Answer, Pieces},
    behaviour::{Behaviour, Fault},
    connection::Connection,
    endpoint_version::{Endpoint, EndpointVersion},
    journal::{Exchange, Kind},
    state::{Planned, State},
    wire::{api, keycloak, v1, v2},
};

/// What is read of a body: tests upload, and the journal keeps it all.
const BODY_CAP: usize = 256 * 1024 * 1024;
/// What is read of a token request.
const TOKEN_REQUEST_CAP: usize = 1024 * 1024;

pub(crate) async fn answer(
    state: Arc<State>,
    connection: Connection,
    request: Request<Incoming>,
) -> Result<Response<Pieces>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let endpoint = Endpoint::of(&path);
    let kind = endpoint.kind();
    let seq = state.note(Exchange {
        seq: 0,
        at: Duration::ZERO,
        kind,
        connection: connection.id,
        method: head.method.to_string(),
        path,
        query: head.uri.query().map(str::to_owned),
        version: head.version,
        headers: head.headers.clone(),
        body: Bytes::new(),
        body_complete: false,
        generation: None,
        client: None,
        status: None,
    });
    let behaviour = match state.next_plan(endpoint) {
        Planned::Behave(behaviour) => behaviour,
        Planned::Hold(barrier) => barrier.pass().await,
    };
    let body = if behaviour.without_reading_body {
        drop(body);
        Some(Bytes::new())
    } else {
        let cap = match kind {
            Kind::Token | Kind::Discovery => TOKEN_REQUEST_CAP,
            Kind::Api => BODY_CAP,
        };
        let reading = Reading {
            state: &state,
            seq,
            read: BytesMut::new(),
        };
        match reading.finish(body, cap).await {
            Ok(body) => body,
            // The client broke off, so there is nobody to answer to.
            Err(_) => return Ok(reset(&connection).await),
        }
    };
    if behaviour.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
    }
    match behaviour.fault {
        Some(Fault::Silence) => return std::future::pending().await,
        Some(Fault::Reset) => return Ok(reset(&connection).await),
        Some(Fault::Close) => {
            connection.close();
            return std::future::pending().await;
        }
        _ => {}
    }
    let answer = match body {
        Some(body) => decide(&state, endpoint, &head, &body, &behaviour),
        None => Answer::error(413, "The body is too large"),
    };
    state.amend(seq, |exchange| {
        exchange.status = Some(answer.status);
        exchange.generation = answer.generation;
        exchange.client.clone_from(&answer.client);
    });
    let now = u64::try_from(state.now()).unwrap_or_default();
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now.min(253_402_300_799)));
    Ok(answer.into_response(&behaviour, &date, &connection))
}

/// A body that is being read. If that ends early, because the client broke off or this request was
/// dropped with its connection, what has come by then is in the journal all the same.
struct Reading<'a> {
    state: &'a State,
    seq: usize,
    read: BytesMut,
}

impl Reading<'_> {
    /// The whole body, or `None` if there is more than `cap` of it.
    async fn finish(mut self, mut body: Incoming, cap: usize) -> hyper::Result<Option<Bytes>> {
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame?.data_ref() {
                if self.read.len() + data.len() > cap {
                    return Ok(None);
                }
                self.read.extend_from_slice(data);
            }
        }
        let body = self.read.split().freeze();
        self.state.amend(self.seq, |exchange| {
            exchange.body = body.clone();
            exchange.body_complete = true;
        });
        Ok(Some(body))
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if !self.read.is_empty() {
            let body = self.read.split().freeze();
            self.state.amend(self.seq, |exchange| exchange.body = body);
        }
    }
}

fn decide(
    state: &State,
    endpoint: Endpoint,
    head: &http::request::Parts,
    body: &Bytes,
    behaviour: &Behaviour,
) -> Answer {
    let instead = Answer::instead(behaviour, endpoint);
    let form = match (endpoint.form(), instead) {
        (None, instead) => return api::answer(state, head, body, instead),
        (Some(_), Some(instead)) => return instead,
        (Some(form), None) => form,
    };
    if !state.has(form) {
        return Answer::documented(404, false);
    }
    if endpoint.method().is_some_and(|only| only != head.method) {
        return Answer::error(405, "Method not allowed");
    }
    match form {
        EndpointVersion::V1 => v1::answer(state, &head.headers, body, behaviour),
        EndpointVersion::V2 => v2::answer(state, &head.headers, body, behaviour),
        EndpointVersion::Keycloak => keycloak::answer(state, head, body, behaviour),
    }
}

/// Breaks the connection, so that what is returned is never sent.
async fn reset(connection: &Connection) -> Response<Pieces> {
    connection.reset();
    std::future::pending().await
}

/// Whether a request says that its body is of this media type.
pub(crate) fn has_content_type(headers: &http::HeaderMap, expected: &str) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case(expected))
}
