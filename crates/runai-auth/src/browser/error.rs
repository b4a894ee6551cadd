//! Errors of a login with a browser.

use std::{error, fmt};

use tower_bearer::BoxError;

/// An error of a login with a browser. It never holds a code, a state or a verifier.
#[derive(Debug)]
pub struct LoginError {
    kind: LoginErrorKind,
    message: String,
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
    pub(crate) fn new(kind: LoginErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What this error is about.
    #[must_use]
    pub fn kind(&self) -> LoginErrorKind {
        self.kind
    }
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl error::Error for LoginError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
