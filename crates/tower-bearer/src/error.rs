//! Why there is no token, or why a request was not sent.

use std::{error, fmt, sync::Arc, time::Duration};

use crate::source::SourceError;

/// Any error, boxed: what [`BearerAuth`](crate::BearerAuth) answers with, since the inner service's
/// errors come through it too.
pub type BoxError = Box<dyn error::Error + Send + Sync>;

/// Why there is no token, or why a request was not sent.
///
/// It is cheap to clone: one failed refresh is shared by all who waited for it. The text says what the
/// cache or the layer knows; [`source()`](error::Error::source) leads to what the token source said.
/// No secret is ever in it.
#[derive(Clone, Debug)]
pub struct Error {
    inner: Arc<Inner>,
    /// The time until the source is asked again, as it was when this clone was handed out.
    next_try: Option<Duration>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    source: Option<SourceError>,
}

/// What an [`Error`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The source failed in a way that may pass.
    Unavailable,
    /// The source definitely refused the credentials.
    InvalidCredentials,
    /// The source answered with something that is not a usable token.
    Malformed,
    /// The source did not answer in time.
    TimedOut,
    /// The source panicked.
    Panicked,
    /// The token was rejected, and refreshes because of rejections are limited at present.
    Limited,
    /// There is no tokio runtime here, or it has no timer.
    NoRuntime,
    /// The request's origin, named here, may not see the token.
    OriginNotAllowed(String),
    /// The request's origin, named here, is reached without TLS.
    Insecure(String),
    /// The request's URI does not say which origin it goes to.
    NoOrigin,
}

impl Error {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            inner: Arc::new(Inner { kind, source: None }),
            next_try: None,
        }
    }

    /// What this error is about.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.inner.kind
    }

    /// Whether the source did not answer in time.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.inner.kind == Kind::TimedOut
    }

    /// Whether the source definitely refused the credentials: trying again will not help, other
    /// credentials may.
    #[must_use]
    pub fn is_invalid_credentials(&self) -> bool {
        self.inner.kind == Kind::InvalidCredentials
    }

    /// Whether the same request may go well a while later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.inner.kind,
            Kind::Unavailable | Kind::TimedOut | Kind::Panicked | Kind::Limited
        )
    }

    /// The time until the source is asked again, where that is known.
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
    fn from(source: SourceError) -> Self {
        Self {
            inner: Arc::new(Inner {
                kind: source.kind(),
                source: Some(source),
            }),
            next_try: None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner.kind {
            Kind::Unavailable => f.write_str("no token: its source is failing"),
            Kind::InvalidCredentials => f.write_str("no token: its source refused the credentials"),
            Kind::Malformed => f.write_str("no token: its source gave none that can be used"),
            Kind::TimedOut => f.write_str("no token: its source did not answer in time"),
            Kind::Panicked => f.write_str("no token: its source panicked, which is a bug in it"),
            Kind::Limited => f.write_str(
                "the token was rejected, and no other is fetched yet: refreshes because of rejections \
                 are limited",
            ),
            Kind::NoRuntime => f.write_str(
                "no token: call from within a tokio runtime whose time driver is enabled",
            ),
            Kind::OriginNotAllowed(origin) => write!(
                f,
                "the token may not go to {origin}: allow that origin on the layer, or let requests to \
                 other origins pass without a token"
            ),
            Kind::Insecure(origin) => write!(
                f,
                "the token may not go to {origin} without TLS: use https, or allow that origin as \
                 insecure on the layer"
            ),
            Kind::NoOrigin => f.write_str(
                "the request's URI has no scheme and host, so where the token would go is unknown: \
                 send an absolute URI, or tell the layer which origin to assume",
            ),
        }?;
        match self.next_try {
            Some(next) if next >= Duration::from_secs(1) => {
                write!(f, " (next try in {} s)", next.as_secs())
            }
            Some(next) => write!(f, " (next try in {} ms)", next.as_millis()),
            None => Ok(()),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.inner.source.as_ref().map(|source| source as _)
    }
}
