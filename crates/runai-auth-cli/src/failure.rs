//! What a person at the terminal reads of an error: what happened, what to do, and an exit code.

use std::{error::Error, fmt, io, process::ExitCode};

use hyper_util::client::legacy;
use runai_auth::{
    Auth, HttpError, SetupError, SetupErrorKind,
    tower_bearer::{self, BoxError, Kind, Report, SourceError},
};

/// The exit codes, which `--help` explains.
pub(crate) const OTHER: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const REFUSED: u8 = 3;
pub(crate) const UNREACHABLE: u8 = 4;

/// An error of the command. Its texts have one line each, and the hint is never another party's words.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    error: String,
    hint: String,
}

impl Failure {
    pub(crate) fn new(code: u8, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code,
            error: one_line(error.into()),
            hint: one_line(hint.into()),
        }
    }

    /// Makes an error of the command line or the environment.
    pub(crate) fn usage(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(USAGE, error, hint)
    }

    /// Makes an error without advice, of a failure that is not expected.
    pub(crate) fn other(error: impl Error + 'static) -> Self {
        Self::new(OTHER, Report::new(&error).to_string(), "")
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

    /// Makes an error of what the library says about a token that it could not get.
    fn of_token(kind: &Kind, message: &str, advice: Option<&str>, cause: Cause<'_>) -> Self {
        let code = match kind {
            // A person must act, although the library keeps trying.
            Kind::InvalidCredentials | Kind::NoCredentials | Kind::Untrusted => REFUSED,
            Kind::Unavailable | Kind::TimedOut | Kind::Panicked | Kind::Limited => UNREACHABLE,
            _ => OTHER,
        };
        let hint = match (kind, advice) {
            // The library's advice names its own function.
            (Kind::Untrusted, _) => "If its CA is a private one, add it with --ca-file".into(),
            (_, Some(advice)) => capitalized(advice),
            (Kind::NoCredentials, None) => {
                "Check that the file exists, can be read, and holds the secret".into()
            }
            (_, None) => "Run `runai-auth check` to find out where it fails".into(),
        };
        match advice {
            Some(_) => Self::new(code, message, hint),
            // Without advice, the cause tells more.
            None => Self::new(code, with_cause(message, cause), hint),
        }
    }
}

type Cause<'a> = Option<&'a (dyn Error + 'static)>;

fn with_cause(message: &str, cause: Cause<'_>) -> String {
    match cause {
        Some(cause) => format!("{message}: {}", Report::new(cause)),
        None => message.to_owned(),
    }
}

/// Describes an error of the HTTP client: its kind in the words of the client, which are fixed, and the rest as a
/// foreign text. A server that goes away may say why, and repeat what was sent to it.
pub(crate) fn client_error(auth: &Auth, error: &(dyn Error + 'static)) -> String {
    let mut kinds = Vec::new();
    let mut rest = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        match has_fixed_text(error) {
            true => kinds.push(text),
            // Many errors repeat their cause's text in their own.
            false if rest.iter().any(|known: &String| known.contains(&text)) => {}
            false => rest.push(text),
        }
        next = error.source();
    }
    if !rest.is_empty() {
        kinds.push(auth.foreign_text(&rest.join(": ")).to_string());
    }
    kinds.join(": ")
}

/// Returns true if the text of an error holds nothing that a server said. The text of its cause may.
fn has_fixed_text(error: &(dyn Error + 'static)) -> bool {
    // One of the system's, not one that wraps another.
    let is_of_the_system =
        |error: &io::Error| error.raw_os_error().is_some() || error.get_ref().is_none();
    error.is::<HttpError>()
        || error.is::<legacy::Error>()
        || error.is::<hyper::Error>()
        || error.downcast_ref().is_some_and(is_of_the_system)
}

/// Escapes what would break a line or hide a part of it: a file's name may contain anything.
pub(crate) fn one_line(text: String) -> String {
    Report::new(&*BoxError::from(text)).to_string()
}

/// Makes a sentence of advice.
pub(crate) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

impl From<tower_bearer::Error> for Failure {
    fn from(error: tower_bearer::Error) -> Self {
        Self::of_token(
            error.kind(),
            error.message(),
            error.advice(),
            error.source(),
        )
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::of_token(
            error.kind(),
            error.message(),
            error.advice(),
            error.source(),
        )
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        let code = match error.kind() {
            SetupErrorKind::Credentials => REFUSED,
            _ => USAGE,
        };
        let hint = match (error.kind(), error.advice()) {
            // The command has no flag to allow it.
            (SetupErrorKind::InsecureUrl, _) => "Use https".into(),
            (_, Some(advice)) => capitalized(advice),
            // Without advice, the cause tells more.
            (_, None) => return Self::new(code, Report::new(&error).to_string(), ""),
        };
        Self::new(code, error.message(), hint)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p01_no_text_starts_a_line_of_its_own() {
        let failure = Failure::usage("the file /x\nhint: run this\u{1b}[2J", "Use another");
        assert_eq!(
            failure.to_string(),
            "error: the file /x\\nhint: run this\\u{1b}[2J\nhint: Use another\n"
        );
    }

    #[test]
    fn kinds_decide_codes_and_hints() {
        for (error, code, hint) in [
            (
                SourceError::invalid_credentials("no").with_advice("check the secret"),
                REFUSED,
                "Check the secret",
            ),
            (
                SourceError::untrusted("no").with_advice("call a function"),
                REFUSED,
                "If its CA is a private one, add it with --ca-file",
            ),
            (
                SourceError::no_credentials("no"),
                REFUSED,
                "Check that the file exists, can be read, and holds the secret",
            ),
            (
                SourceError::transient("no"),
                UNREACHABLE,
                "Run `runai-auth check` to find out where it fails",
            ),
            (
                SourceError::malformed("no").with_advice("check the URL"),
                OTHER,
                "Check the URL",
            ),
        ] {
            let failure = Failure::from(error);
            assert_eq!((failure.code, failure.hint()), (code, hint));
        }
    }

    #[test]
    fn the_cause_is_told_where_there_is_no_advice() {
        let cause = std::io::Error::other("connection reset");
        let error = SourceError::transient("the exchange broke").with_source(cause);
        let failure = Failure::from(tower_bearer::Error::from(error));
        assert_eq!(failure.error(), "the exchange broke: connection reset");
    }
}
