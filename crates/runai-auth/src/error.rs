//! What is wrong with how this was set up.

use std::{error, fmt};

use tower_bearer::BoxError;

/// What is wrong with how this was set up. Failures to get a token are
/// [`tower_bearer::Error`]s.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<BoxError>,
}

/// What an [`Error`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The control plane's URL.
    Url,
    /// The environment's variables, or a file that they name.
    Environment,
    /// Credentials that are not there, not whole, or not for this control plane.
    Credentials,
    /// A certificate, or TLS as a whole.
    Tls,
    /// The name for the `User-Agent`.
    UserAgent,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
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
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
