//! Answers: status, headers and body, before and after a behaviour changes them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    behaviour::{Behaviour, Fault},
    connection::Connection,
    endpoint_version::{Endpoint, EndpointVersion},
    response_body::ResponseBody,
};

/// An answer, and what the journal keeps of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    content_type: String,
    body: Bytes,
    headers: Vec<(String, String)>,
    /// The generation of the token that was issued or used.
    pub(crate) generation: Option<u64>,
    /// The application or user that the token belongs to.
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

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// Returns an error as the API and v1 document it.
    pub(crate) fn error(status: u16, message: &str) -> Self {
        Self::json(status, &json!({"code": status, "message": message}))
    }

    /// Returns an error as in RFC 6749, section 5.2, for v2 and Keycloak.
    pub(crate) fn oauth2(status: u16, error: &str, description: &str) -> Self {
        let body = json!({"error": error, "error_description": description});
        Self::json(status, &body)
    }

    /// Returns the documented error of a status, in the shape of RFC 6749 or of the API.
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

    /// Returns the answer that a behaviour sends instead of the usual one.
    pub(crate) fn from_behaviour(behaviour: &Behaviour, endpoint: Endpoint) -> Option<Self> {
        let has_body = behaviour.body.is_some() || behaviour.huge.is_some();
        let status = behaviour.status.or(has_body.then_some(200))?;
        let oauth2 = endpoint.version().is_some_and(EndpointVersion::is_oauth2);
        let mut answer = Self::documented(status, oauth2);
        if let Some(body) = &behaviour.body {
            answer.body = body.clone().into();
        }
        Some(answer)
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the token's generation and owner for the journal.
    #[must_use]
    pub(crate) fn owned_by(mut self, generation: Option<u64>, client: Option<String>) -> Self {
        self.generation = generation;
        self.client = client;
        self
    }

    /// Builds the response, with all that the behaviour changes.
    pub(crate) fn into_response(
        self,
        behaviour: &Behaviour,
        date: &str,
        connection: &Connection,
    ) -> Response<ResponseBody> {
        let body = ResponseBody::new(self.body, behaviour, connection);
        let announced = body.announced();
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let content_type = behaviour.content_type.as_ref();
        let content_type = content_type.unwrap_or(&self.content_type);
        let headers = response.headers_mut();
        set(headers, "date", date);
        set(headers, "content-type", content_type);
        for (name, value) in &self.headers {
            set(headers, name, value);
        }
        add_all(headers, &behaviour.headers);
        if let Some(Fault::Truncate(_)) = behaviour.fault {
            headers.insert(header::CONTENT_LENGTH, announced.into());
        }
        response
    }
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    if let Some((name, value)) = valid_header(name, value) {
        headers.insert(name, value);
    }
}

/// Sets each header. A name that comes more than once gets all its values, after those it has.
fn add_all(headers: &mut HeaderMap, added: &[(String, String)]) {
    for (name, value) in added {
        let times = added.iter().filter(|(other, _)| other == name).count();
        match valid_header(name, value) {
            Some((name, value)) if times > 1 => drop(headers.append(name, value)),
            Some((name, value)) => drop(headers.insert(name, value)),
            None => {}
        }
    }
}

/// Returns `None` for a header that cannot be sent, or that the server sets to frame the body.
fn valid_header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(name).ok()?;
    if name == header::CONTENT_LENGTH || name == header::TRANSFER_ENCODING {
        return None;
    }
    Some((name, HeaderValue::try_from(value).ok()?))
}
