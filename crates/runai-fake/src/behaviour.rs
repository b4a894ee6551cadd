//! How one request is to be answered, where not as usual.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

/// How one request is answered. It starts from [`normal`](Self::normal) or one of the other
/// constructors, and the methods add to that.
///
/// The JSON that the control interface takes is the same thing, a member per method:
/// `{"status":503,"headers":[["retry-after","120"]],"delay_ms":50}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// The status, with the documented error's body unless a body is given.
    pub(crate) status: Option<u16>,
    /// Headers to add.
    pub(crate) headers: Vec<(String, String)>,
    /// The body instead of the usual one.
    pub(crate) body: Option<String>,
    /// Its content type.
    pub(crate) content_type: Option<String>,
    /// So many bytes instead of a body: a JSON string that goes on and on.
    pub(crate) huge: Option<u64>,
    /// Wait so long before answering.
    pub(crate) delay_ms: u64,
    /// Send the body in pieces of so many bytes …
    pub(crate) drip_bytes: Option<usize>,
    /// … and wait so long between two.
    pub(crate) drip_every_ms: u64,
    /// What happens to the connection.
    pub(crate) fault: Option<Fault>,
    /// What token is issued.
    pub(crate) token: Option<TokenShape>,
    /// Answer at once, without reading the request's body.
    pub(crate) without_reading_body: bool,
}

/// What happens to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// The request is read and never answered.
    Silence,
    /// The head of the answer is sent, its body never.
    SilenceAfterHeaders,
    /// The connection is reset instead of an answer.
    Reset,
    /// It is closed instead of an answer.
    Close,
    /// It is reset after so many bytes of the answer's body.
    ResetAfter(usize),
    /// The whole length is announced, so many bytes are sent, and the connection is closed.
    Truncate(usize),
}

/// What token is issued, where not the usual one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenShape {
    /// One that lives so many seconds.
    Lifetime(u64),
    /// One that has expired already.
    Expired,
    /// One that is no JWT.
    Opaque,
    /// A JWT without `exp`.
    NoExp,
    /// The same as the last time for that application.
    Same,
    /// Any text.
    Raw(String),
    /// The usual token, with this value for `expiresIn` or `expires_in`.
    ExpiresIn(serde_json::Value),
    /// The usual token, with this `token_type`.
    TokenType(String),
}

impl Behaviour {
    /// What cannot be done as it was asked for.
    pub(crate) fn flaw(&self) -> Option<String> {
        if let Some(status) = self.status.filter(|status| !(200..=599).contains(status)) {
            return Some(format!("status: {status} is none that an answer can have"));
        }
        if self.drip_bytes == Some(0) {
            return Some("drip_bytes: a piece has one byte at least".into());
        }
        self.headers.iter().find_map(|(name, value)| {
            let framing = ["content-length", "transfer-encoding"];
            if framing.iter().any(|it| name.eq_ignore_ascii_case(it)) {
                return Some(format!(
                    "headers: {name} is the server's own; see `truncate`"
                ));
            }
            let fits = HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok();
            (!fits).then(|| format!("headers: `{name}` cannot be sent"))
        })
    }

    /// As usual.
    #[must_use]
    pub fn normal() -> Self {
        Self::default()
    }

    /// This status, with the documented body of such an error.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    /// 200 with a page of HTML, as an unknown path of the real service answers.
    #[must_use]
    pub fn html() -> Self {
        Self::status(200).body("text/html; charset=utf-8", HTML)
    }

    /// 200 with this text as JSON, whether it is or not.
    #[must_use]
    pub fn json(text: impl Into<String>) -> Self {
        Self::status(200).body("application/json", text)
    }

    /// 200 with nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::json("")
    }

    /// 200 with a JSON text of so many bytes.
    #[must_use]
    pub fn huge(bytes: u64) -> Self {
        Self {
            huge: Some(bytes),
            ..Self::status(200)
        }
    }

    /// A redirect.
    #[must_use]
    pub fn redirect(status: u16, location: impl Into<String>) -> Self {
        Self::status(status)
            .header("location", location)
            .body("text/plain", "moved")
    }

    /// As usual, with this token.
    #[must_use]
    pub fn token(shape: TokenShape) -> Self {
        Self {
            token: Some(shape),
            ..Self::default()
        }
    }

    /// A fault of the connection.
    #[must_use]
    pub fn fault(fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            ..Self::default()
        }
    }

    /// Adds a header. One that cannot be sent, or that says how the body is framed, is left out.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Answers with this body.
    #[must_use]
    pub fn body(mut self, content_type: impl Into<String>, body: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self.body = Some(body.into());
        self
    }

    /// Waits before answering.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Sends the body in pieces.
    #[must_use]
    pub fn drip(mut self, bytes: usize, every: Duration) -> Self {
        self.drip_bytes = Some(bytes.max(1));
        self.drip_every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Answers without reading the request's body.
    #[must_use]
    pub fn without_reading_body(mut self) -> Self {
        self.without_reading_body = true;
        self
    }
}

pub(crate) const HTML: &str =
    "<!doctype html><html><head><title>Run:ai</title></head><body>the UI</body></html>";
