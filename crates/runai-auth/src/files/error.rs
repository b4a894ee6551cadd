//! What is wrong with a file.

use std::{
    error, fmt, io,
    path::{Path, PathBuf},
};

use tower_bearer::{BoxError, ForeignText};

/// What is wrong with a file: its path, what was found, and what to do. It never shows what the file holds.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    kind: FileErrorKind,
    what: String,
    advice: Option<&'static str>,
    source: Option<BoxError>,
    /// Whether somebody else named the path.
    is_foreign: bool,
}

/// What a [`FileError`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileErrorKind {
    /// The file does not exist.
    NotFound,
    /// The file exists and cannot be read.
    Unreadable,
    /// It is a pipe, which is never opened: that would wait for a writer, and its content can be read only
    /// once.
    Pipe,
    /// It is a directory, a socket or a device, which is never opened.
    NotRegular,
    /// It is larger than files of its sort may be.
    TooLarge,
    /// It is empty.
    Empty,
    /// It is not UTF-8 text.
    NotText,
    /// It does not hold what it should.
    Content,
}

impl FileError {
    /// An error about what a file holds, or does not hold: "has no client id".
    pub(crate) fn new(path: &Path, what: impl Into<String>) -> Self {
        Self::of(FileErrorKind::Content, path, what, None)
    }

    pub(super) fn of(
        kind: FileErrorKind,
        path: &Path,
        what: impl Into<String>,
        advice: Option<&'static str>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            what: what.into(),
            advice,
            source: None,
            is_foreign: false,
        }
    }

    pub(super) fn from_io(path: &Path, error: io::Error) -> Self {
        use FileErrorKind::{NotFound, Unreadable};
        let (kind, what, advice) = match error.kind() {
            io::ErrorKind::NotFound => (NotFound, "does not exist", Some("check its path")),
            io::ErrorKind::PermissionDenied => (
                Unreadable,
                "may not be read by this user",
                Some("check its owner and permissions, and those of its directories"),
            ),
            _ => {
                let what = format!("cannot be read ({error})");
                return Self::of(Unreadable, path, what, None).with_source(error);
            }
        };
        Self::of(kind, path, what, advice).with_source(error)
    }

    /// Says that another program's file named the path, so that it is quoted.
    pub(crate) fn with_foreign_path(mut self) -> Self {
        self.is_foreign = true;
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what this error is about.
    #[must_use]
    pub fn kind(&self) -> FileErrorKind {
        self.kind
    }

    /// Returns what is wrong, without what to do: "the file /run/secret is empty".
    #[must_use]
    pub fn message(&self) -> String {
        let path = match self.is_foreign {
            true => ForeignText::new(&self.path.to_string_lossy()).to_string(),
            false => shown_path(&self.path),
        };
        format!("the file {path} {}", self.what)
    }

    /// Returns what to do, where that is known.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.advice
    }
}

/// The path as text, between quotes if it has anything that could pass for words of ours.
pub(crate) fn shown_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || (c.is_ascii_graphic() && c != '"');
    match text.chars().all(is_plain) {
        true => text.into_owned(),
        false => ForeignText::new(&text).to_string(),
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        match self.advice {
            Some(advice) => write!(f, ": {advice}"),
            None => Ok(()),
        }
    }
}

impl error::Error for FileError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
