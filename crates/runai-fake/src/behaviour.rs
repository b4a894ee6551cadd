//! Behaviours: how one request is answered, if not in the usual way.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

/// How one request is answered.
///
/// Start from [`normal`](Self::normal) or another constructor, then add to it with the methods.
///
/// ```
/// use std::time::Duration;
/// use runai_fake::{Behaviour, Fault, TokenShape};
///
/// // A 503 after a second, with a header.
/// Behaviour::status(503).header("retry-after", "1").delay(Duration::from_secs(1));
/// // A token that lives for five seconds.
/// Behaviour::token(TokenShape::Lifetime(5));
/// // The first ten bytes of the usual answer, then a reset connection.
/// Behaviour::fault(Fault::ResetAfter(10));
/// ```
///
/// The control interface takes the same as JSON, with a member for each method:
/// `{"status":503,"headers":[["retry-after","1"]],"delay_ms":1000}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// The status. Without `body`, the documented body of that error is sent.
    pub(crate) status: Option<u16>,
    /// Headers to add.
    pub(crate) headers: Vec<(String, String)>,
    /// The body instead of the usual one.
    pub(crate) body: Option<String>,
    /// The body's content type.
    pub(crate) content_type: Option<String>,
    /// The size of a made-up body: a JSON string without an end.
    pub(crate) huge: Option<u64>,
    /// The time to wait before the answer.
    pub(crate) delay_ms: u64,
    /// The size of the pieces in which the body is sent.
    pub(crate) drip_bytes: Option<usize>,
    /// The time to wait after each piece.
    pub(crate) drip_every_ms: u64,
    /// What happens to the connection.
    pub(crate) fault: Option<Fault>,
    /// The token that is issued.
    pub(crate) token: Option<TokenShape>,
    /// Answer at once, without reading the request's body.
    pub(crate) without_reading_body: bool,
}

/// A fault of the connection, for [`Behaviour::fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// The request is read and never answered.
    Silence,
    /// The answer's head is sent, its body never.
    SilenceAfterHeaders,
    /// The connection is reset before the answer.
    Reset,
    /// The connection is closed before the answer.
    Close,
    /// The connection is reset after this many bytes of the answer's body.
    ResetAfter(usize),
    /// The full `content-length` is announced, but the connection is closed after this many bytes.
    Truncate(usize),
}

/// An unusual token, for [`Behaviour::token`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenShape {
    /// A token that lives for this many seconds.
    Lifetime(u64),
    /// A token that has already expired.
    Expired,
    /// A token that is not a JWT.
    Opaque,
    /// A JWT without `exp`.
    NoExp,
    /// The token that the client got last time.
    Same,
    /// This text as the token.
    Raw(String),
    /// The usual token, with this value for `expiresIn` or `expires_in`.
    ExpiresIn(serde_json::Value),
    /// The usual token, with this `token_type`.
    TokenType(String),
}

impl Behaviour {
    /// Answers as usual. This is the default.
    #[must_use]
    pub fn normal() -> Self {
        Self::default()
    }

    /// Answers with this status and the documented body of that error.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    /// Answers 200 with an HTML page, as the real service does on an unknown path.
    #[must_use]
    pub fn html() -> Self {
        Self::status(200).body("text/html; charset=utf-8", HTML)
    }

    /// Answers 200 with this text as `application/json`, even if it is not valid JSON.
    #[must_use]
    pub fn json(text: impl Into<String>) -> Self {
        Self::status(200).body("application/json", text)
    }

    /// Answers 200 with an empty body.
    #[must_use]
    pub fn empty() -> Self {
        Self::json("")
    }

    /// Answers 200 with a body of this many bytes: a JSON string without an end.
    #[must_use]
    pub fn huge(bytes: u64) -> Self {
        Self {
            huge: Some(bytes),
            ..Self::status(200)
        }
    }

    /// Answers with a redirect.
    #[must_use]
    pub fn redirect(status: u16, location: impl Into<String>) -> Self {
        Self::status(status)
            .header("location", location)
            .body("text/plain", "moved")
    }

    /// Answers as usual, with an unusual token.
    #[must_use]
    pub fn token(shape: TokenShape) -> Self {
        Self {
            token: Some(shape),
            ..Self::default()
        }
    }

    /// Answers as usual, until a fault of the connection.
    #[must_use]
    pub fn fault(fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            ..Self::default()
        }
    }

    /// Adds a header to the answer.
    ///
    /// Replaces a header that the usual answer has; two calls with one name send both. Ignores a header
    /// that is not valid, `content-length` and `transfer-encoding`.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Replaces the body. The status is 200 unless it was set.
    #[must_use]
    pub fn body(mut self, content_type: impl Into<String>, body: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self.body = Some(body.into());
        self
    }

    /// Waits before the answer, after the request's body was read.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Sends the body in pieces of this many bytes, and waits after each.
    #[must_use]
    pub fn drip(mut self, bytes: usize, every: Duration) -> Self {
        self.drip_bytes = Some(bytes.max(1));
        self.drip_every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Answers without reading the request's body.
    ///
    /// Use it with a status: the usual answer to a token request needs the body.
    #[must_use]
    pub fn without_reading_body(mut self) -> Self {
        self.without_reading_body = true;
        self
    }

    /// Returns what is wrong with a behaviour that came as JSON.
    pub(crate) fn problem(&self) -> Option<String> {
        if let Some(status) = self.status.filter(|status| !(200..=599).contains(status)) {
            return Some(format!(
                "status: {status} cannot be sent: expected 200 to 599"
            ));
        }
        if self.drip_bytes == Some(0) {
            return Some("drip_bytes: 0 cannot be sent: expected at least 1".into());
        }
        self.headers.iter().find_map(|(name, value)| {
            let framing = ["content-length", "transfer-encoding"];
            if framing.iter().any(|it| name.eq_ignore_ascii_case(it)) {
                return Some(format!(
                    "headers: the server sets `{name}`: use the fault `truncate` instead"
                ));
            }
            let valid = HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok();
            (!valid).then(|| format!("headers: `{name}` cannot be sent"))
        })
    }
}

pub(crate) const HTML: &str =
    "<!doctype html><html><head><title>Run:ai</title></head><body>the UI</body></html>";
