//! What the proxy answers by itself, in JSON: `error`, `reason` and `hint`.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{body::Outgoing, reason::Reason};

/// An answer that is a failure.
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

    /// The time after which it may go well.
    pub(crate) fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// The methods that are served.
    pub(crate) fn allow(mut self, methods: impl Into<String>) -> Self {
        self.allow = Some(methods.into());
        self
    }

    pub(crate) fn response(self) -> Response<Outgoing> {
        let body = json!({
            "error": self.error,
            "reason": self.reason.as_str(),
            "hint": self.hint,
        });
        let mut response = json_response(self.status, &body);
        let headers = response.headers_mut();
        if let Some(time) = self.retry_after {
            // Rounded up, since a second too early is refused again.
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

pub(crate) fn json_response(status: StatusCode, body: &Value) -> Response<Outgoing> {
    let body = Bytes::from(format!("{body}\n"));
    let mut response = Response::new(Outgoing::whole(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    // A page of another origin must not get at it as a script either.
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
