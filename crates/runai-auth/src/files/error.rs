//! What is wrong with a file.

use std::{
    error, fmt, io,
    path::{Path, PathBuf},
};

use tower_bearer::BoxError;

/// What is wrong with a file: its path, what was found, and what to do. It never shows what the file holds.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    kind: FileErrorKind,
    what: String,
    advice: Option<&'static str>,
    source: Option<BoxError>,
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
            _ => (Unreadable, "cannot be read", None),
        };
        Self::of(kind, path, what, advice).with_source(error)
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
        format!("the file {} {}", on_one_line(&self.path), self.what)
    }

    /// Returns what to do, where that is known.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.advice
    }
}

/// The path as text. A kubeconfig may name paths with line breaks and terminal escapes in them.
fn on_one_line(path: &Path) -> String {
    let mut shown = String::new();
    for c in path.to_string_lossy().chars() {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
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
