//! A file with one secret in it.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tower_bearer::oauth2::SecretText;

use super::{
    error::FileError,
    read::{FileKind, read_line},
    watched::Watched,
};

/// A file with one secret in it, which may be replaced under a running program.
///
/// [`Secret::file`](crate::Secret::file) is made of it. Take it by itself for a secret of your own program
/// that should be read by the same rules: regular files alone, of at most 64 KiB of UTF-8 text, without the
/// line break at the end; other users' right to read it is logged as a warning, once. Clones share what was
/// read.
///
/// ```
/// use runai_auth::SecretFile;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("key");
/// std::fs::write(&path, "a long random text\n")?;
/// let key = SecretFile::new(&path);
/// assert_eq!(key.read()?.expose_secret(), "a long random text");
///
/// // While somebody writes the next one, the last whole one counts.
/// key.current().await?;
/// std::fs::write(&path, "")?;
/// assert_eq!(key.current().await?.expose_secret(), "a long random text");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SecretFile {
    path: Arc<Path>,
    content: Arc<Watched<SecretText>>,
}

impl SecretFile {
    /// Makes it of a path. Nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path: Arc<Path> = path.into().into();
        let read = path.clone();
        let content = Watched::new(move || {
            let mut line = read_line(&read, FileKind::Secret)?;
            // The text is moved, not copied.
            Ok(SecretText::from(std::mem::take(&mut *line)))
        });
        Self {
            path,
            content: Arc::new(content),
        }
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what the file holds now.
    ///
    /// # Errors
    ///
    /// If it does not exist, cannot be read, is not a regular file, is empty, too large or not UTF-8 text.
    pub fn read(&self) -> Result<SecretText, FileError> {
        self.content.read()
    }

    /// Returns what the file holds, or, while it is missing, empty or half-written, what it held last.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), if nothing was read before.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn current(&self) -> Result<SecretText, FileError> {
        self.content.current().await
    }

    /// The last content that [`current`](Self::current) returned.
    pub(crate) fn last(&self) -> Option<SecretText> {
        self.content.last()
    }

    /// A number that grows when the content changes.
    pub(crate) fn epoch(&self) -> u64 {
        self.content.epoch()
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretFile").field(&self.path).finish()
    }
}
