//! Errors about a kubeconfig, or a file or program that it names.

use std::{error, fmt, path::Path};

use tower_bearer::BoxError;

/// An error about a kubeconfig. It names files, contexts and users, never a token.
#[derive(Debug)]
pub(crate) struct KubeconfigError {
    message: String,
    source: Option<BoxError>,
}

impl KubeconfigError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: None,
        }
    }

    /// An error about a file, which it names first.
    pub(super) fn about(file: &Path, message: impl fmt::Display) -> Self {
        Self::new(format!("{}: {message}", file.display()))
    }

    pub(super) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for KubeconfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl error::Error for KubeconfigError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
