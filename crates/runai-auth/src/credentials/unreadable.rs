//! The error for credentials that cannot be read.

use tower_bearer::{BoxError, ForeignText, SourceError};

use crate::{
    files::{CommandError, FileError},
    kubeconfig::KubeconfigError,
};

/// Says that credentials cannot be read, and why. `advice` is for causes that have none of their own.
pub(super) fn unreadable(message: &str, error: BoxError, advice: &'static str) -> SourceError {
    let (why, own_advice) = if let Some(file) = error.downcast_ref::<FileError>() {
        (file.message(), file.advice())
    } else if let Some(kubeconfig) = error.downcast_ref::<KubeconfigError>() {
        (kubeconfig.message().to_owned(), kubeconfig.advice())
    } else if let Some(command) = error.downcast_ref::<CommandError>() {
        (command.to_string(), None)
    } else {
        // The error of a function that the program gave.
        (ForeignText::new(&error.to_string()).to_string(), None)
    };
    let own_advice = own_advice.map(str::to_owned);
    let error = SourceError::no_credentials(format!("{message}: {why}")).with_source(error);
    match own_advice {
        Some(own_advice) => error.with_advice(own_advice),
        None => error.with_advice(advice),
    }
}
