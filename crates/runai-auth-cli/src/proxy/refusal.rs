//! What the proxy answers itself, in JSON: `error`, `reason` and `hint`.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use runai_auth::tower_bearer::{self, Kind};
use serde_json::{Value, json};

use super::{outgoing::ResponseBody, reason::Reason};
use crate::{escape, failure::Failure};

/// An answer that says why a request was not forwarded or not answered.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) reason: Reason,
    error: Cow<'static, str>,
    hint: Cow<'static, str>,
    retry_after: Option<Duration>,
    allow: Option<String>,
}

impl Refusal {
    pub(crate) fn new(
        status: StatusCode,
        reason: Reason,
        error: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            reason,
            error: error.into(),
            hint: hint.into(),
            retry_after: None,
            allow: None,
        }
    }

    /// Sets the time after which the caller may try again.
    pub(crate) fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// Sets the methods that are served.
    pub(crate) fn allow(mut self, methods: impl Into<String>) -> Self {
        self.allow = Some(methods.into());
        self
    }

    pub(crate) fn response(self) -> Response<ResponseBody> {
        let body = json!({
            "error": self.error,
            "reason": self.reason.as_str(),
            "hint": self.hint,
        });
        let mut response = json_response(self.status, &body);
        let headers = response.headers_mut();
        if let Some(time) = self.retry_after {
            // Rounded up: a second too early would fail again.
            let seconds = time.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
                headers.insert(header::RETRY_AFTER, value);
            }
        }
        if let Some(Ok(value)) = self.allow.map(HeaderValue::try_from) {
            headers.insert(header::ALLOW, value);
        }
        response
    }
}

/// Nothing was sent, because there is no token.
impl From<&tower_bearer::Error> for Refusal {
    fn from(error: &tower_bearer::Error) -> Self {
        let failure = Failure::from(error.clone());
        let (text, hint) = (failure.error().to_owned(), failure.hint().to_owned());
        if error.is_transient() {
            let reason = match error.kind() {
                Kind::Limited => Reason::Rejected,
                _ => Reason::Unavailable,
            };
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, text, hint)
                .retry_after(error.retry_after().unwrap_or_default());
        }
        let reason = match error.is_invalid_credentials() {
            true => Reason::InvalidCredentials,
            false => Reason::Unavailable,
        };
        Self::new(StatusCode::BAD_GATEWAY, reason, text, hint)
    }
}

pub(crate) fn json_response(status: StatusCode, body: &Value) -> Response<ResponseBody> {
    let body = Bytes::from(format!("{}\n", escape::json_line(body)));
    let mut response = Response::new(ResponseBody::whole(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    // A page of another origin must not load it as a script.
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
