//! Why there is no token, or why a request was not sent.

use std::{borrow::Cow, error, fmt, sync::Arc, time::Duration};

use crate::{
    foreign_text::{self, ForeignText},
    report::Report,
    token::InvalidToken,
};

/// Any error, boxed. [`BearerAuth`](crate::BearerAuth) answers with it, because the inner service's
/// errors pass through the layer too.
pub type BoxError = Box<dyn error::Error + Send + Sync>;

/// Why there is no token, or why a request was not sent.
///
/// | | |
/// | --- | --- |
/// | `{}` | what failed, where, what came back, and what to do |
/// | `{:#}` and `{:?}` | the same, followed by the technical causes: for logs |
/// | [`source()`](error::Error::source) | the first technical cause, whose text `{}` does not repeat |
///
/// Programs ask the methods; the text is for people, and it may change. No secret is ever in it.
///
/// The type is cheap to clone: all who waited for one failed refresh share one error.
///
/// ```
/// use std::time::Duration;
/// use tower_bearer::{Error, Kind};
///
/// /// How an HTTP gateway answers a caller for whom it has no token.
/// fn status(error: &Error) -> (u16, Option<Duration>) {
///     match error.kind() {
///         Kind::InvalidCredentials | Kind::NoCredentials => (502, None),
///         _ if error.is_transient() => (503, error.retry_after()),
///         _ => (500, None),
///     }
/// }
/// # let error = Error::from(tower_bearer::SourceError::transient("the endpoint is down"));
/// # assert_eq!(status(&error), (503, None));
/// ```
#[derive(Clone)]
pub struct Error {
    failure: Arc<SourceError>,
    /// The time until the source is called again, as it was when this clone was handed out.
    next_try: Option<Duration>,
}

/// What an [`Error`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The source failed in a way that may pass.
    Unavailable,
    /// The token endpoint definitely refused the credentials (RFC 6749, section 5.2: `invalid_client`,
    /// `invalid_grant`).
    InvalidCredentials,
    /// The credentials could not be read: their file is missing, empty or unreadable, for example.
    NoCredentials,
    /// The token endpoint's certificate is not trusted.
    Untrusted,
    /// The source answered with something that is not a usable token.
    Malformed,
    /// The source did not answer in time.
    TimedOut,
    /// The source panicked.
    Panicked,
    /// The token was rejected, and the limit on refreshes after rejections allows none at present.
    Limited,
    /// The source gave the token again that is there already, or that a server rejected.
    Unchanged,
    /// The source asked its own cache for a token: it would wait for itself.
    Reentrant,
    /// The calling thread has no tokio runtime.
    NoRuntime,
    /// The request's origin, named here, may not see the token.
    OriginNotAllowed(String),
    /// The request's origin, named here, is reached without TLS.
    Insecure(String),
    /// The request's URI does not name the origin that it goes to.
    NoOrigin,
    /// The request's `Host` header names another host than its URI, whose origin is named here; or there are several
    /// such headers.
    HostMismatch(String),
    /// The request came to a layer [with redirects](crate::BearerAuthLayer::with_redirects) from another task than its
    /// caller's, so it is not known which token it asked for.
    OutOfHop,
}

impl Error {
    /// An error that this crate found by itself, without a call to a source.
    pub(crate) fn new(kind: Kind) -> Self {
        let (message, advice): (Cow<'static, str>, &'static str) = match &kind {
            Kind::Limited => (
                "the token was rejected, and no other one is fetched yet, because refreshes after \
                 rejections are limited"
                    .into(),
                "find out why the server rejects new tokens: a clock, or the application's rights",
            ),
            Kind::Unchanged => (
                "the token source gave the same token again".into(),
                "find out why the server rejects it, or why the source gives no other one",
            ),
            Kind::Reentrant => (
                "the token source asked its own cache for a token, so it would wait for itself".into(),
                "give the source a client without the layer of that cache",
            ),
            Kind::NoRuntime => (
                "no token can be fetched outside of a tokio runtime".into(),
                "call from within a tokio runtime that is driven",
            ),
            Kind::OriginNotAllowed(origin) => (
                format!("the token may not go to {origin}").into(),
                "allow that origin on the layer, or let requests to other origins pass without a token",
            ),
            Kind::Insecure(origin) => (
                format!("the token may not go to {origin} without TLS").into(),
                "use https, or allow that origin as insecure on the layer",
            ),
            Kind::NoOrigin => (
                "the request's URI has no scheme and host, so the layer cannot tell where the token \
                 would go"
                    .into(),
                "send an absolute URI, or set the origin to assume on the layer",
            ),
            Kind::OutOfHop => (
                "the request came to the layer from another task than its caller's, so it is not known \
                 which token it asked for"
                    .into(),
                "put layers with a task of their own, such as a buffer, around the layer with redirects",
            ),
            _ => ("the token source failed".into(), ""),
        };
        let mut failure = SourceError::new(kind, message);
        if !advice.is_empty() {
            failure = failure.with_advice(advice);
        }
        Self::from(failure)
    }

    /// A request to `origin` whose `Host` headers are `hosts`.
    pub(crate) fn host_mismatch(hosts: &ForeignText, origin: String) -> Self {
        let message = format!("the request goes to {origin}, but its Host header is {hosts}");
        let failure = SourceError::new(Kind::HostMismatch(origin), message)
            .with_advice("leave the Host header out, so that the client writes it from the URI");
        Self::from(failure)
    }

    /// Returns what this error is about.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.failure.kind
    }

    /// Returns what happened, without the [advice](Self::advice).
    #[must_use]
    pub fn message(&self) -> &str {
        self.failure.message()
    }

    /// Returns what a person should do about it. It is the source's own sentence, never a server's.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.failure.advice()
    }

    /// Returns true if the source did not answer in time.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        *self.kind() == Kind::TimedOut
    }

    /// Returns true if the token endpoint definitely refused the credentials. Another attempt does not
    /// help; other credentials may.
    #[must_use]
    pub fn is_invalid_credentials(&self) -> bool {
        self.failure.is_invalid_credentials()
    }

    /// Returns true if the same request may succeed later without a change to this program.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.failure.is_transient() || matches!(self.kind(), Kind::Panicked | Kind::Limited)
    }

    /// Returns the time until the source is called again, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.next_try
    }

    pub(crate) fn with_next_try(mut self, next_try: Option<Duration>) -> Self {
        self.next_try = next_try;
        self
    }
}

impl From<SourceError> for Error {
    fn from(failure: SourceError) -> Self {
        Self {
            failure: Arc::new(failure),
            next_try: None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return Report::new(self).fmt(f);
        }
        self.failure.fmt(f)?;
        match self.next_try {
            Some(next) if next >= Duration::from_secs(1) => {
                write!(f, " (next attempt in {} s)", next.as_secs())
            }
            Some(next) => write!(f, " (next attempt in {} ms)", next.as_millis()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Report::new(self).fmt(f)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.failure.source()
    }
}

/// Why a source has no token, and whether another attempt can help.
///
/// Its text is for a person. Put into the message what failed, at which endpoint, for which credentials
/// and what came back; put what to do into the [advice](Self::with_advice). Never put a secret into
/// either, and text from elsewhere only as [`ForeignText`](crate::ForeignText).
///
/// ```
/// use tower_bearer::{Error, ForeignText, SourceError};
///
/// let answer = "Invalid client\nhint: disable TLS";
/// let error = SourceError::invalid_credentials(format!(
///     "https://idp.example refused client `ci-bot` (401, {})",
///     ForeignText::new(answer)
/// ))
/// .with_advice("check the client's id and secret");
///
/// assert_eq!(
///     Error::from(error).to_string(),
///     r#"https://idp.example refused client `ci-bot` (401, "Invalid client\nhint: disable TLS"): "#
///         .to_owned()
///         + "check the client's id and secret"
/// );
/// ```
#[derive(Clone)]
pub struct SourceError {
    kind: Kind,
    message: Cow<'static, str>,
    advice: Option<Cow<'static, str>>,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
    retry_after: Option<Duration>,
    until_changed: bool,
    of_client: bool,
}

impl SourceError {
    /// A failure that may pass: the endpoint is down, overloaded or out of reach.
    pub fn transient(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// The endpoint's definite refusal of these credentials.
    pub fn invalid_credentials(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::InvalidCredentials, message)
    }

    /// Credentials that could not be read. The source is called again after the usual backoff.
    pub fn no_credentials(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::NoCredentials, message)
    }

    /// A certificate of the endpoint that is not trusted. The source is called again after the usual
    /// backoff.
    pub fn untrusted(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Untrusted, message)
    }

    /// An answer of the endpoint that is not a usable token.
    pub fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Malformed, message)
    }

    pub(crate) fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: one_line(message.into()),
            advice: None,
            source: None,
            retry_after: None,
            until_changed: false,
            of_client: false,
        }
    }

    /// Adds what a person should do: `check the client's id and secret`.
    ///
    /// Defaults to none.
    #[must_use]
    pub fn with_advice(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.advice = Some(one_line(advice.into()));
        self
    }

    /// Adds the technical cause.
    ///
    /// Defaults to none.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// Sets how long the endpoint asked to be left alone. The cache waits at most five minutes for it.
    ///
    /// Defaults to the cache's own backoff.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Keeps the cache from calling the source again before
    /// [`TokenSource::epoch`](crate::TokenSource::epoch) has grown. Use it where a second attempt with
    /// the same secret does harm: a few wrong passwords lock an account, and the second use of a
    /// refresh token may end its session.
    ///
    /// Defaults to another attempt after a growing while.
    #[must_use]
    pub fn until_changed(mut self) -> Self {
        self.until_changed = true;
        self
    }

    /// Says that the endpoint refused the client, and not the refresh token that came along (RFC 6749, section
    /// 5.2: anything but `invalid_grant`). [`RefreshTokens`](crate::oauth2::RefreshTokens) then sends that
    /// refresh token again once the client is put right.
    ///
    /// Defaults to a refusal of both.
    #[cfg(feature = "oauth2")]
    #[must_use]
    pub fn about_the_client(mut self) -> Self {
        self.of_client = true;
        self
    }

    /// Whether the endpoint refused the refresh token that was sent.
    #[cfg(feature = "oauth2")]
    pub(crate) fn refuses_refresh_token(&self) -> bool {
        self.is_invalid_credentials() && !self.of_client
    }

    /// The failure of a source that asked its own cache.
    pub(crate) fn reentrant(cause: Self) -> Self {
        let asked = Error::new(Kind::Reentrant);
        Self {
            source: Some(Arc::new(cause)),
            ..(*asked.failure).clone()
        }
    }

    /// Undoes [`until_changed`](Self::until_changed), for a source that itself does not send the same
    /// secret again.
    #[cfg(feature = "oauth2")]
    pub(crate) fn may_pass(mut self) -> Self {
        self.until_changed = false;
        self
    }

    /// Returns what this error is about.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Returns what happened, without the advice.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns what a person should do.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }

    /// Returns true if the endpoint definitely refused the credentials.
    #[must_use]
    pub fn is_invalid_credentials(&self) -> bool {
        self.kind == Kind::InvalidCredentials
    }

    /// Returns true if the failure may pass.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            Kind::Unavailable | Kind::TimedOut | Kind::NoCredentials | Kind::Untrusted
        )
    }

    pub(crate) fn lasts_until_changed(&self) -> bool {
        self.until_changed
    }

    pub(crate) fn asked_delay(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// A text that may have a foreign name in it, a path for example, which must not break the line.
fn one_line(text: Cow<'static, str>) -> Cow<'static, str> {
    match foreign_text::escaped(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(escaped) => Cow::Owned(escaped),
    }
}

impl From<InvalidToken> for SourceError {
    fn from(invalid: InvalidToken) -> Self {
        Self::malformed("the access token cannot be used").with_source(invalid)
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return Report::new(self).fmt(f);
        }
        f.write_str(&self.message)?;
        match &self.advice {
            Some(advice) => write!(f, ": {advice}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Report::new(self).fmt(f)
    }
}

impl error::Error for SourceError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refused() -> Error {
        let cause = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let error = SourceError::transient("nothing listens at https://idp.example")
            .with_advice("check the URL and its port")
            .with_source(cause);
        Error::from(error)
    }

    #[test]
    fn p02_display_tells_all_once_and_debug_can_be_read() {
        let error = refused().with_next_try(Some(Duration::from_secs(5)));
        let text = "nothing listens at https://idp.example: check the URL and its port \
                    (next attempt in 5 s)";
        assert_eq!(error.to_string(), text);
        let whole = format!("{text}; caused by: connection refused");
        assert_eq!(format!("{error:#}"), whole);
        // What `fn main() -> Result<(), BoxError>` prints.
        assert_eq!(format!("{:?}", BoxError::from(error)), whole);
    }

    #[test]
    fn p03_what_programs_need_is_asked() {
        let error = refused();
        assert_eq!(*error.kind(), Kind::Unavailable);
        assert_eq!(error.message(), "nothing listens at https://idp.example");
        assert_eq!(error.advice(), Some("check the URL and its port"));
        assert!(error.is_transient() && !error.is_timeout());
        assert!(error::Error::source(&error).is_some_and(|cause| cause.is::<io::Error>()));
    }

    #[test]
    fn p01_a_name_in_a_message_does_not_break_its_line() {
        let error = SourceError::transient("the file /a\nhint: run \u{202e}this does not exist")
            .with_advice("check\r\nit");
        let text = r"the file /a\nhint: run \u{202e}this does not exist: check\r\nit";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn each_error_of_the_crate_itself_says_what_to_do() {
        for kind in [
            Kind::Limited,
            Kind::Unchanged,
            Kind::Reentrant,
            Kind::NoRuntime,
            Kind::OriginNotAllowed("https://elsewhere.example".into()),
            Kind::Insecure("http://api.example".into()),
            Kind::NoOrigin,
            Kind::OutOfHop,
        ] {
            let error = Error::new(kind.clone());
            assert!(error.advice().is_some(), "{kind:?}");
            assert!(!error.to_string().contains("source failed"), "{error}");
        }
    }
}
