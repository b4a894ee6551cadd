//! Errors about a kubeconfig, or a file or program that it names.

use std::{error, fmt, path::Path};

use tower_bearer::BoxError;

use crate::files::shown_path;

/// An error about a kubeconfig. It names files, contexts and users, never a token.
#[derive(Debug)]
pub(crate) struct KubeconfigError {
    message: String,
    advice: Option<String>,
    source: Option<BoxError>,
}

impl KubeconfigError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            advice: None,
            source: None,
        }
    }

    /// An error about a file, which it names first.
    pub(super) fn about(file: &Path, message: impl fmt::Display) -> Self {
        Self::new(format!("{}: {message}", shown_path(file)))
    }

    pub(super) fn with_advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    pub(super) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What is wrong, without the advice.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }
}

impl fmt::Display for KubeconfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.advice {
            Some(advice) => write!(f, ": {advice}"),
            None => Ok(()),
        }
    }
}

impl error::Error for KubeconfigError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
