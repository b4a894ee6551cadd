//! A client secret: a text, or a file that may be rotated under a running program.

use std::{
    fmt, fs, io,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

/// How often a file is looked at, at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a file must stay as it is to be taken for written whole.
const SETTLED: Duration = Duration::from_millis(20);

pub(crate) type Text = Zeroizing<String>;

/// Where the secret is.
#[derive(Debug)]
pub(crate) enum Secret {
    Text(Text),
    File(SecretFile),
}

impl Secret {
    /// The secret as it is now.
    pub(crate) async fn current(&self) -> Result<Text, FileError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(file) => file.current().await,
        }
    }

    /// A number that grows when the secret changes.
    pub(crate) fn epoch(&self) -> u64 {
        match self {
            Self::Text(_) => 0,
            Self::File(file) => file.epoch(),
        }
    }
}

/// A file that holds a secret. An empty or half-written one keeps the last good secret, as when
/// Kubernetes swaps a mounted one.
pub(crate) struct SecretFile {
    path: PathBuf,
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last secret that was taken.
    good: Option<Text>,
    /// The last content that was seen, whole or not.
    seen: Option<Text>,
    looked: Option<Instant>,
    epoch: u64,
}

impl SecretFile {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            interval: LOOK_INTERVAL,
            state: Mutex::default(),
        }
    }

    /// What is in the file, if there is something.
    pub(crate) fn read(&self) -> Result<Text, FileError> {
        let failed = |source| FileError {
            path: self.path.clone(),
            source,
        };
        let read = fs::read_to_string(&self.path).map(Zeroizing::new);
        let read = read.map_err(|error| failed(Some(error)))?;
        let secret = without_line_break(&read);
        if secret.trim().is_empty() {
            return Err(failed(None));
        }
        Ok(Zeroizing::new(secret.to_owned()))
    }

    /// The secret, from the file if that is whole, else the last good one.
    async fn current(&self) -> Result<Text, FileError> {
        let first = self.read();
        let good = self.lock().good.clone();
        let (first, good) = match (first, good) {
            (Ok(first), Some(good)) if first == good => return Ok(good),
            (Err(_), Some(good)) => return Ok(good),
            (first, good) => (first?, good),
        };
        tokio::time::sleep(SETTLED).await;
        match (self.read(), good) {
            (Ok(second), _) if second == first => {
                self.lock().good = Some(second.clone());
                Ok(second)
            }
            (_, Some(good)) => Ok(good),
            (second, None) => second,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a bound on file accesses needs no test's clock"
    )]
    fn epoch(&self) -> u64 {
        let now = Instant::now();
        let mut state = self.lock();
        let is_recent = |looked| now.saturating_duration_since(looked) < self.interval;
        if state.looked.is_some_and(is_recent) {
            return state.epoch;
        }
        state.looked = Some(now);
        // A file that cannot be read has not changed: the last good secret stays.
        if let Ok(read) = self.read() {
            if state.seen.as_ref() != Some(&read) {
                // What is seen first is no change.
                state.epoch += u64::from(state.seen.is_some());
                state.seen = Some(read);
            }
        }
        state.epoch
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Why there is no secret in a file.
#[derive(Debug)]
pub(crate) struct FileError {
    path: PathBuf,
    /// None: it is empty.
    source: Option<io::Error>,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.source {
            Some(_) => write!(f, "the secret's file {path} cannot be read"),
            None => write!(f, "the secret's file {path} is empty"),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// A secret without the line break that editors and `echo` leave at its end.
pub(crate) fn without_line_break(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of the test's own, looked at each time.
    struct Scratch(SecretFile);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("runai-auth-{name}-{}", std::process::id()));
            let mut file = SecretFile::new(path);
            file.interval = Duration::ZERO;
            Self(file)
        }

        fn write(&self, text: &str) {
            fs::write(&self.0.path, text).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_file(&self.0.path).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn e13_a_rotated_secret_is_used_and_an_empty_file_keeps_the_last_good_one() {
        let file = Scratch::new("rotated");
        let error = file.0.current().await.unwrap_err();
        assert!(error.to_string().contains("cannot be read"), "{error}");
        file.write(" one \r\n");
        let before = file.0.epoch();
        assert_eq!(*file.0.current().await.unwrap(), " one ");
        for text in ["", "\n", "  \n"] {
            file.write(text);
            assert_eq!(*file.0.current().await.unwrap(), " one ", "{text:?}");
            assert_eq!(file.0.epoch(), before);
        }
        file.write("two\n");
        assert_eq!(file.0.epoch(), before + 1);
        assert_eq!(file.0.epoch(), before + 1);
        assert_eq!(*file.0.current().await.unwrap(), "two");
    }

    #[tokio::test(start_paused = true)]
    async fn e13_a_half_written_file_keeps_the_last_good_secret() {
        let file = Scratch::new("half-written");
        file.write("one");
        assert_eq!(*file.0.current().await.unwrap(), "one");
        file.write("tw");
        let mut reading = tokio_test::task::spawn(file.0.current());
        tokio_test::assert_pending!(reading.poll());
        // The rest comes before it has settled.
        file.write("two");
        assert_eq!(*reading.await.unwrap(), "one");
        assert_eq!(*file.0.current().await.unwrap(), "two");
    }
}
