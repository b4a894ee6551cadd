//! Secrets that may change: a text, a file, a program's output, or what a function finds.

use std::{ffi::OsString, fmt, future::Future, path::PathBuf, pin::Pin, sync::Arc};

use tower_bearer::{BoxError, oauth2::SecretText};

use crate::{
    command::Command,
    watched::{PrivateFile, Watched, without_line_break},
};

/// A secret: a client secret, a password, a token of somebody else's. Wherever it comes from, it is read
/// at each fetch, so a new one is used without a restart. `Debug` shows where it comes from, never what
/// it is.
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
    File(PathBuf, Watched<SecretText>),
    Command(Command),
    Function(Arc<dyn Fn() -> Reading + Send + Sync>),
}

type Reading = Pin<Box<dyn Future<Output = Result<SecretText, BoxError>> + Send>>;

impl Secret {
    /// A secret in a file, as Kubernetes mounts it. One line break at its end is not part of it.
    ///
    /// The file is also looked at once a second at most while requests come, so a rotated secret ends a
    /// remembered refusal at once. An empty or half-written file keeps the last good secret.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let file = PrivateFile::new(path);
        let path = file.path().to_owned();
        let read = move || Ok(SecretText::from(file.line()?.as_str()));
        Self(Arc::new(Place::File(path, Watched::new(read))))
    }

    /// A secret that a program prints, which is run at each fetch: a password manager's, say. One line
    /// break at its end is not part of it. What it writes to its standard error goes to ours, and it is
    /// killed when the fetch is dropped.
    ///
    /// A remembered refusal is not ended by a new secret, since the program is not run to find out.
    pub fn command<I, A>(program: impl Into<OsString>, args: I) -> Self
    where
        I: IntoIterator<Item = A>,
        A: Into<OsString>,
    {
        Self(Arc::new(Place::Command(Command::new(program, args))))
    }

    /// A secret that a function finds, which is called at each fetch: in a vault, say.
    ///
    /// A remembered refusal is not ended by a new secret, since the function is not called to find out.
    pub fn from_fn<F, Fut>(read: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<SecretText, BoxError>> + Send + 'static,
    {
        let read = Arc::new(move || -> Reading { Box::pin(read()) });
        Self(Arc::new(Place::Function(read)))
    }

    /// The secret as it is now.
    pub(crate) async fn current(&self) -> Result<SecretText, BoxError> {
        match &*self.0 {
            Place::Text(text) => Ok(text.clone()),
            Place::File(_, file) => Ok(file.current().await?),
            Place::Command(command) => {
                let output = command.output().await?;
                let line = without_line_break(&output);
                match line.trim().is_empty() {
                    true => Err(format!("{command} printed nothing").into()),
                    false => Ok(line.into()),
                }
            }
            Place::Function(read) => read().await,
        }
    }

    /// The last value that was read from a file.
    pub(crate) fn last(&self) -> Option<SecretText> {
        match &*self.0 {
            Place::File(_, file) => file.last(),
            _ => None,
        }
    }

    /// Says at once what would be wrong at the first fetch.
    pub(crate) fn check(&self) -> Result<(), BoxError> {
        match &*self.0 {
            Place::File(_, file) => file.read().map(drop).map_err(Into::into),
            _ => Ok(()),
        }
    }

    /// Whether a change shows in the epoch, which no program or function is asked for.
    #[cfg(feature = "user-login")]
    pub(crate) fn tells_changes(&self) -> bool {
        matches!(&*self.0, Place::Text(_) | Place::File(..))
    }

    /// A number that grows when the secret changes.
    pub(crate) fn epoch(&self) -> u64 {
        match &*self.0 {
            Place::File(_, file) => file.epoch(),
            _ => 0,
        }
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
            Place::File(path, _) => f.debug_tuple("Secret::file").field(path).finish(),
            Place::Command(command) => write!(f, "Secret::command({command})"),
            Place::Function(_) => f.write_str("Secret::from_fn"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    async fn read(secret: &Secret) -> String {
        secret.current().await.unwrap().expose_secret().to_owned()
    }

    #[tokio::test]
    async fn a_secret_comes_from_a_text_a_file_a_program_or_a_function() {
        let scratch = Scratch::new("secrets");
        scratch.write("secret", "in a file\n");
        assert_eq!(read(&Secret::from("a text\n")).await, "a text\n");
        assert_eq!(
            read(&Secret::file(scratch.path("secret"))).await,
            "in a file"
        );
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
