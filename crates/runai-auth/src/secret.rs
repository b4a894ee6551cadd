//! Secrets that may change: a text, a file, a program's output, or what a function returns.

use std::{ffi::OsString, fmt, future::Future, path::PathBuf, pin::Pin, sync::Arc};

use tower_bearer::{BoxError, oauth2::SecretText};

use crate::files::{Command, FileError, SecretFile, trim_line_break};

/// A secret: a client secret, a password, a token from another issuer.
///
/// It is read at each fetch, wherever it comes from, so a new one is used without a restart. It lies in
/// memory once, and that memory is wiped. `Debug` shows where it comes from, never what it is.
///
/// ```
/// use runai_auth::{Credentials, Secret};
///
/// let mounted = Credentials::client("ci-bot", Secret::file("/var/run/secrets/runai/client-secret"));
/// let given = Credentials::client("ci-bot", "the secret key");
/// # drop((mounted, given));
/// ```
#[derive(Clone)]
pub struct Secret(Arc<Place>);

enum Place {
    Text(SecretText),
    File(SecretFile),
    Command(Command),
    Function(Arc<dyn Fn() -> Reading + Send + Sync>),
}

type Reading = Pin<Box<dyn Future<Output = Result<SecretText, BoxError>> + Send>>;

impl Secret {
    /// Reads the secret from a file, as Kubernetes mounts it. One line break at the end is not part of it.
    ///
    /// While requests come, the file is also looked at, once a second at most, so that a rotated secret
    /// ends the backoff after a rejection at once. While the file is empty or half-written, the last good
    /// secret stays. The rules for the file are those of [`SecretFile`].
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        SecretFile::new(path).into()
    }

    /// Runs a program at each fetch that prints the secret: a password manager, say. One line break at the
    /// end is not part of it.
    ///
    /// The program has an empty standard input, and is killed when the fetch is dropped, or after five
    /// minutes. If it fails, the error shows the end of what it wrote to its standard error; if ours is a
    /// terminal, all of that is shown there too. More than 1 MiB of output is an error.
    ///
    /// A new secret does not end the backoff after a rejection, because the program is not run to look for
    /// one.
    pub fn command<I, A>(program: impl Into<OsString>, args: I) -> Self
    where
        I: IntoIterator<Item = A>,
        A: Into<OsString>,
    {
        Self(Arc::new(Place::Command(Command::new(program, args))))
    }

    /// Calls a function at each fetch that returns the secret: from a vault, say.
    ///
    /// A new secret does not end the backoff after a rejection, because the function is not called to look
    /// for one.
    pub fn from_fn<F, Fut>(read: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<SecretText, BoxError>> + Send + 'static,
    {
        let read = Arc::new(move || -> Reading { Box::pin(read()) });
        Self(Arc::new(Place::Function(read)))
    }

    /// Returns the secret as it is now.
    pub(crate) async fn current(&self) -> Result<SecretText, BoxError> {
        match &*self.0 {
            Place::Text(text) => Ok(text.clone()),
            Place::File(file) => Ok(file.current().await?),
            Place::Command(command) => {
                let mut output = command.output().await?;
                trim_line_break(&mut output);
                match output.trim().is_empty() {
                    true => Err(format!("{command} printed nothing").into()),
                    // The text is moved, not copied.
                    false => Ok(std::mem::take(&mut *output).into()),
                }
            }
            Place::Function(read) => read().await,
        }
    }

    /// Returns the secret if it is in memory: a text, or what a file held when it was read last.
    pub(crate) fn known(&self) -> Option<SecretText> {
        match &*self.0 {
            Place::Text(text) => Some(text.clone()),
            _ => self.last(),
        }
    }

    /// Returns the last secret that was read from a file.
    pub(crate) fn last(&self) -> Option<SecretText> {
        match &*self.0 {
            Place::File(file) => file.last(),
            _ => None,
        }
    }

    /// Returns at once the error that the first fetch would have.
    pub(crate) fn check(&self) -> Result<(), FileError> {
        match &*self.0 {
            Place::File(file) => file.read().map(drop),
            _ => Ok(()),
        }
    }

    /// Returns whether a change shows in the epoch. For programs and functions it does not.
    #[cfg(feature = "user-login")]
    pub(crate) fn tells_changes(&self) -> bool {
        matches!(&*self.0, Place::Text(_) | Place::File(_))
    }

    /// Returns a number that grows when the secret changes.
    pub(crate) fn epoch(&self) -> u64 {
        match &*self.0 {
            Place::File(file) => file.epoch(),
            _ => 0,
        }
    }
}

impl From<SecretFile> for Secret {
    fn from(file: SecretFile) -> Self {
        Self(Arc::new(Place::File(file)))
    }
}

impl From<SecretText> for Secret {
    fn from(text: SecretText) -> Self {
        Self(Arc::new(Place::Text(text)))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::from(SecretText::from(text))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::from(SecretText::from(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Place::Text(_) => f.write_str("Secret([redacted])"),
            Place::File(file) => f.debug_tuple("Secret::file").field(&file.path()).finish(),
            Place::Command(command) => write!(f, "Secret::command({command})"),
            Place::Function(_) => f.write_str("Secret::from_fn"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn read(secret: &Secret) -> String {
        secret.current().await.unwrap().expose_secret().to_owned()
    }

    #[tokio::test]
    async fn a_secret_comes_from_a_text_a_file_a_program_or_a_function() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "in a file\n").unwrap();
        assert_eq!(read(&Secret::from("a text\n")).await, "a text\n");
        assert_eq!(read(&Secret::file(path)).await, "in a file");
        let found = Secret::from_fn(|| async { Ok("found".into()) });
        assert_eq!(read(&found).await, "found");
        #[cfg(unix)]
        {
            let printed = Secret::command("printf", ["%s\\n", "printed"]);
            assert_eq!(read(&printed).await, "printed");
            let nothing = Secret::command("true", [""; 0]);
            let error = nothing.current().await.unwrap_err().to_string();
            assert_eq!(error, "the program `true` printed nothing");
        }
    }

    #[test]
    fn debug_shows_where_it_comes_from_and_not_what_it_is() {
        let shown = format!(
            "{:?} {:?} {:?}",
            Secret::from("s3cr3t"),
            Secret::file("/var/run/x"),
            Secret::command("pass", ["show", "s3cr3t"]),
        );
        assert!(
            shown.contains("/var/run/x") && shown.contains("pass"),
            "{shown}"
        );
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}
