//! Errors of a login with a browser.

use std::{borrow::Cow, error, fmt};

use tower_bearer::{BoxError, Report, SourceError};

/// An error of a login with a browser. It never holds a code, a state or a verifier.
///
/// `Display` says what happened and what to do. `{:#}` and `Debug` add the technical causes.
pub struct LoginError {
    kind: LoginErrorKind,
    message: String,
    advice: Option<Cow<'static, str>>,
    source: Option<BoxError>,
}

/// What a [`LoginError`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginErrorKind {
    /// The authorization endpoint or the token endpoint was not found, or may not be used.
    Endpoint,
    /// This machine: its loopback interface, or its source of random numbers.
    System,
    /// The control plane sent the browser back with an error, for example because the person declined.
    Refused,
    /// The browser did not come back in time.
    TimedOut,
    /// The pasted text is not a code, or is the redirect of another login.
    Pasted,
    /// The code was not redeemed for tokens.
    Exchange,
    /// The tokens came without a refresh token.
    NoRefreshToken,
}

impl LoginError {
    pub(super) fn new(kind: LoginErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            advice: None,
            source: None,
        }
    }

    /// An error that `cause` explains: it takes over its message and its advice.
    pub(super) fn because(kind: LoginErrorKind, message: &str, cause: SourceError) -> Self {
        let mut error = Self::new(kind, format!("{message}: {}", cause.message()));
        error.advice = cause.advice().map(|advice| advice.to_owned().into());
        error.with_source(cause)
    }

    pub(super) fn with_advice(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    pub(super) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns what this error is about.
    #[must_use]
    pub fn kind(&self) -> LoginErrorKind {
        self.kind
    }

    /// Returns what happened, without the [advice](Self::advice).
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns what to do. It never holds anybody else's words.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }
}

impl fmt::Display for LoginError {
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

impl fmt::Debug for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Report::new(self).fmt(f)
    }
}

impl error::Error for LoginError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
