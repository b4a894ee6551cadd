//! Routes a request to its answer, and writes both into the journal.

use std::{
    convert::Infallible,
    future,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, request};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::{
    answer::Answer,
    behaviour::{Behaviour, Fault},
    connection::{Connection, Ending},
    endpoint_version::{Endpoint, EndpointVersion},
    journal::{Exchange, Kind},
    response_body::ResponseBody,
    state::{Planned, State},
    wire::{api, keycloak, v1, v2},
};

/// The largest body of an API request. Tests upload, and the journal keeps every body.
const API_BODY_CAP: usize = 256 * 1024 * 1024;
/// The largest body of a token request.
const TOKEN_BODY_CAP: usize = 1024 * 1024;
/// The last second of the year 9999. HTTP dates end there.
const LAST_DATE: u64 = 253_402_300_799;

/// Answers one request: takes its planned behaviour, reads its body, and builds the response.
pub(crate) async fn respond(
    state: Arc<State>,
    connection: Connection,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let endpoint = Endpoint::of(&path);
    let kind = endpoint.kind();
    let seq = state.journal().add(Exchange {
        seq: 0,
        at: Duration::ZERO,
        kind,
        connection: connection.id(),
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
    let planned = state.lock().plans.next(endpoint);
    let behaviour = match planned {
        Planned::Behave(behaviour) => behaviour,
        Planned::Hold(barrier) => barrier.pass().await,
    };
    let body = if behaviour.without_reading_body {
        drop(body);
        Some(Bytes::new())
    } else {
        let cap = match kind {
            Kind::Token | Kind::Discovery => TOKEN_BODY_CAP,
            Kind::Api => API_BODY_CAP,
        };
        let reading = Reading {
            state: &state,
            seq,
            read: BytesMut::new(),
        };
        match reading.finish(body, cap).await {
            Ok(body) => body,
            // The client broke the request off, so nobody waits for an answer.
            Err(_) => return Ok(end(&connection, Ending::Reset).await),
        }
    };
    if behaviour.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
    }
    match behaviour.fault {
        Some(Fault::Silence) => return future::pending().await,
        Some(Fault::Reset) => return Ok(end(&connection, Ending::Reset).await),
        Some(Fault::Close) => return Ok(end(&connection, Ending::Close).await),
        _ => {}
    }
    let answer = match body {
        Some(body) => route(&state, endpoint, &head, &body, &behaviour),
        None => Answer::error(413, "The body is too large"),
    };
    state.journal().amend(seq, |exchange| {
        exchange.status = Some(answer.status);
        exchange.generation = answer.generation;
        exchange.client.clone_from(&answer.client);
    });
    let now = u64::try_from(state.now()).unwrap_or_default();
    let date = UNIX_EPOCH + Duration::from_secs(now.min(LAST_DATE));
    let date = httpdate::fmt_http_date(date);
    Ok(answer.into_response(&behaviour, &date, &connection))
}

/// A body that is being read. The journal gets what was read even if the client breaks off, or if
/// hyper drops this request with its connection.
struct Reading<'a> {
    state: &'a State,
    seq: usize,
    read: BytesMut,
}

impl Reading<'_> {
    /// Reads the body to its end. Returns `None` if it is longer than `cap`.
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
        self.state.journal().amend(self.seq, |exchange| {
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
            let journal = self.state.journal();
            journal.amend(self.seq, |exchange| exchange.body = body);
        }
    }
}

fn route(
    state: &State,
    endpoint: Endpoint,
    head: &request::Parts,
    body: &Bytes,
    behaviour: &Behaviour,
) -> Answer {
    let configured = Answer::from_behaviour(behaviour, endpoint);
    let version = match (endpoint.version(), configured) {
        (None, configured) => return api::answer(state, head, body, configured),
        (Some(_), Some(configured)) => return configured,
        (Some(version), None) => version,
    };
    if !state.has(version) {
        return Answer::documented(404, false);
    }
    if endpoint.method().is_some_and(|only| only != head.method) {
        return Answer::error(405, "Method not allowed");
    }
    match version {
        EndpointVersion::V1 => v1::answer(state, &head.headers, body, behaviour),
        EndpointVersion::V2 => v2::answer(state, &head.headers, body, behaviour),
        EndpointVersion::Keycloak => keycloak::answer(state, head, body, behaviour),
    }
}

/// Ends the connection. Never returns: the server drops this future with the connection.
async fn end(connection: &Connection, ending: Ending) -> Response<ResponseBody> {
    connection.end(ending);
    future::pending().await
}
