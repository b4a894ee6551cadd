//! Errors in how this was set up.

use std::{borrow::Cow, error, fmt};

use tower_bearer::{BoxError, ForeignText, Report};

use crate::files::FileError;

/// An error in how a control plane or its credentials were set up.
///
/// Failures to get a token at run time are [`runai_auth::Error`](tower_bearer::Error)s.
///
/// `Display` says what is wrong and what to do. `{:#}` and `Debug` add the technical causes.
pub struct SetupError {
    kind: SetupErrorKind,
    message: String,
    advice: Option<Cow<'static, str>>,
    source: Option<BoxError>,
}

/// What a [`SetupError`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupErrorKind {
    /// The control plane's URL, or another one.
    Url,
    /// A URL without TLS, to which a secret would be sent in the clear.
    InsecureUrl,
    /// The environment's variables, or a file that they name.
    Environment,
    /// Credentials that are missing, incomplete, or for another control plane.
    Credentials,
    /// A certificate, or TLS as a whole.
    Tls,
    /// The product name for the `User-Agent`.
    UserAgent,
}

impl SetupError {
    pub(crate) fn new(kind: SetupErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            // A name in it, a path for example, must not break the line.
            message: ForeignText::escape(&message.into()).into_owned(),
            advice: None,
            source: None,
        }
    }

    pub(crate) fn with_advice(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the file that caused it, with its advice unless there is another.
    pub(crate) fn with_file(mut self, error: FileError) -> Self {
        if self.advice.is_none() {
            self.advice = error.advice().map(|advice| advice.to_owned().into());
        }
        self.with_source(error)
    }

    /// Returns what this error is about.
    #[must_use]
    pub fn kind(&self) -> SetupErrorKind {
        self.kind
    }

    /// Returns what is wrong, without the [advice](Self::advice).
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

impl fmt::Display for SetupError {
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

impl fmt::Debug for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Report::new(self).fmt(f)
    }
}

impl error::Error for SetupError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
