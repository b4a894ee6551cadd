//! What went wrong, for the person at the terminal: one sentence of what, one of what to do, and an exit code.

use std::{error::Error, fmt, process::ExitCode};

use runai_auth::tower_bearer::{self, SourceError};

/// What went wrong.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    error: String,
    hint: String,
}

/// Exit codes; `--help` tells them.
pub(crate) const OTHER: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const REFUSED: u8 = 3;
pub(crate) const UNREACHABLE: u8 = 4;

impl Failure {
    pub(crate) fn new(code: u8, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code,
            error: error.into(),
            hint: hint.into(),
        }
    }

    /// The command line or the environment is wrong.
    pub(crate) fn usage(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(USAGE, error, hint)
    }

    /// Something that is not foreseen, told as it is.
    pub(crate) fn other(error: impl Error) -> Self {
        Self::new(OTHER, chain(&error), "")
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    pub(crate) fn error(&self) -> &str {
        &self.error
    }

    pub(crate) fn hint(&self) -> &str {
        &self.hint
    }

    /// A text of the library's, which says what and then, after a colon, what to do.
    fn split(code: u8, text: &str) -> Self {
        // What the library names has other names here, or none.
        let text = text
            .replace("root_certificates_file", "--ca-file")
            .replace(", or ControlPlane::new_insecure", "");
        let starts = [
            "check ", "run ", "add ", "set ", "if ", "use ", "make ", "give ", "log in ", "wait ",
            "leave ", "write ", "unset ", "only ", "chmod ",
        ];
        let cut = text
            .match_indices(": ")
            .map(|(at, _)| at)
            .find(|at| starts.iter().any(|start| text[at + 2..].starts_with(start)));
        match cut {
            Some(at) => Self::new(code, &text[..at], sentence(&text[at + 2..])),
            None => Self::new(code, text, ""),
        }
    }
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// The error and all that it came from.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        next = error.source();
    }
    text
}

impl From<tower_bearer::Error> for Failure {
    fn from(error: tower_bearer::Error) -> Self {
        let code = match error.kind() {
            tower_bearer::Kind::InvalidCredentials => REFUSED,
            _ if error.is_transient() => UNREACHABLE,
            _ => OTHER,
        };
        Self::described(code, error.message(), error.advice(), &error)
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        let code = match (error.is_invalid_credentials(), error.is_transient()) {
            (true, _) => REFUSED,
            (_, true) => UNREACHABLE,
            _ => OTHER,
        };
        Self::described(code, error.message(), error.advice(), &error)
    }
}

impl Failure {
    fn described(code: u8, message: &str, advice: Option<&str>, error: &dyn Error) -> Self {
        let mut split = match advice {
            Some(advice) => Self::new(code, message, sentence(advice)),
            None => Self::split(code, message),
        };
        // To the library these may pass; here a person must put a file in its place.
        if split.error.starts_with("the certificate of ") {
            split.code = REFUSED;
        }
        if split.error.starts_with("there is no secret for ") {
            let hint = "Check that the file is there, can be read, and holds the secret";
            return Self::new(REFUSED, chain(error), hint);
        }
        match split.hint.is_empty() {
            false => split,
            // The causes tell more.
            true => Self::new(
                code,
                chain(error),
                "Run `runai-auth check` to find out where it fails",
            ),
        }
    }
}

impl From<runai_auth::Error> for Failure {
    fn from(error: runai_auth::Error) -> Self {
        let code = match error.kind() {
            runai_auth::Kind::Credentials => REFUSED,
            _ => USAGE,
        };
        Self::split(code, &error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.error)?;
        match self.hint.is_empty() {
            true => Ok(()),
            false => writeln!(f, "hint: {}", self.hint),
        }
    }
}
