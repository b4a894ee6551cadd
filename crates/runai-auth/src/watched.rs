//! What lies in files that may change under a running program: secrets that are rotated, logins that
//! are refreshed, certificates that are replaced.

use std::{
    collections::BTreeSet,
    error, fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tower_bearer::BoxError;
use zeroize::Zeroizing;

/// How often files are looked at, at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long files must stay as they are to be taken for written whole.
const SETTLED: Duration = Duration::from_millis(20);

/// The most that is read of a file: 1 MiB.
const FILE_CAP: u64 = 1024 * 1024;

/// A value that is read from files. Files that are gone, empty or half-written keep the last good value,
/// as when Kubernetes swaps a mounted secret.
pub(crate) struct Watched<T> {
    read: Box<dyn Fn() -> Result<T, FileError> + Send + Sync>,
    interval: Duration,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// The last value that was taken.
    good: Option<T>,
    /// The last value that was seen, settled or not.
    seen: Option<T>,
    looked: Option<Instant>,
    epoch: u64,
}

impl<T: Clone + PartialEq> Watched<T> {
    /// A value that `read` finds; it fails where the files do not hold a whole one.
    pub(crate) fn new(read: impl Fn() -> Result<T, FileError> + Send + Sync + 'static) -> Self {
        Self {
            read: Box::new(read),
            interval: LOOK_INTERVAL,
            state: Mutex::new(State {
                good: None,
                seen: None,
                looked: None,
                epoch: 0,
            }),
        }
    }

    /// Looks at the files each time that it is asked.
    #[cfg(test)]
    pub(crate) fn looking_always(mut self) -> Self {
        self.interval = Duration::ZERO;
        self
    }

    /// What is in the files now, if it is whole.
    pub(crate) fn read(&self) -> Result<T, FileError> {
        (self.read)()
    }

    /// The last value that was taken.
    pub(crate) fn last(&self) -> Option<T> {
        self.lock().good.clone()
    }

    /// The value from the files if they are whole, else the last good one.
    pub(crate) async fn current(&self) -> Result<T, FileError> {
        let first = self.read();
        let good = self.last();
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

    /// A number that grows when the value in the files changes.
    #[expect(
        clippy::disallowed_methods,
        reason = "a bound on file accesses needs no test's clock"
    )]
    pub(crate) fn epoch(&self) -> u64 {
        let now = Instant::now();
        let mut state = self.lock();
        let is_recent = |looked| now.saturating_duration_since(looked) < self.interval;
        if state.looked.is_some_and(is_recent) {
            return state.epoch;
        }
        // What is seen at the first look is no change; what was not there then is one.
        let is_first = state.looked.replace(now).is_none() && state.seen.is_none();
        // Files that cannot be read have not changed: the last good value stays.
        if let Ok(read) = self.read() {
            if state.seen.as_ref() != Some(&read) {
                state.epoch += u64::from(!is_first);
                state.seen = Some(read);
            }
        }
        state.epoch
    }

    /// The last whole value, with its epoch, for callers that cannot wait until it has settled: what is
    /// half-written must be no value.
    pub(crate) fn latest(&self) -> (u64, Option<T>) {
        let epoch = self.epoch();
        (epoch, self.lock().seen.clone())
    }

    /// Takes a value that this program itself has just written: no change, and settled.
    pub(crate) fn written(&self, value: T) {
        let mut state = self.lock();
        state.seen = Some(value.clone());
        state.good = Some(value);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

/// A file with a secret in it.
#[derive(Debug)]
pub(crate) struct PrivateFile {
    path: PathBuf,
}

impl PrivateFile {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text, which is not empty, without the mark that some editors put before it.
    pub(crate) fn text(&self) -> Result<Zeroizing<String>, FileError> {
        let failed = |error: io::Error| {
            let what = match error.kind() {
                io::ErrorKind::NotFound => "is not there",
                _ => "cannot be read",
            };
            FileError::new(&self.path, what).with_source(error)
        };
        let meta = fs::metadata(&self.path).map_err(failed)?;
        // Who opens a pipe waits for its writer, and a device has no end.
        if !meta.is_file() {
            return Err(FileError::new(&self.path, "is no regular file"));
        }
        if meta.len() > FILE_CAP {
            return Err(FileError::new(&self.path, "is larger than 1 MiB"));
        }
        let text = Zeroizing::new(fs::read_to_string(&self.path).map_err(failed)?);
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => Zeroizing::new(rest.to_owned()),
            None => text,
        };
        if text.trim().is_empty() {
            return Err(FileError::new(&self.path, "is empty"));
        }
        if is_open_to_others(&self.path) && is_news(&self.path) {
            tracing::warn!(
                path = %self.path.display(),
                "other users of this machine may read this file, and there is a secret in it: \
                 chmod go-rwx"
            );
        }
        Ok(text)
    }

    /// One line: the text without the line break that editors and `echo` leave at its end.
    pub(crate) fn line(&self) -> Result<Zeroizing<String>, FileError> {
        let text = self.text()?;
        let line = without_line_break(&text);
        Ok(Zeroizing::new(line.to_owned()))
    }
}

/// Whether nobody was warned of this file yet.
fn is_news(path: &Path) -> bool {
    static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    warned.insert(path.to_owned())
}

/// Whether others than its owner may read a file. Kubernetes mounts secrets so, in a volume that is the
/// pod's alone.
#[cfg(unix)]
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let is_mounted = path.parent().is_some_and(|it| it.join("..data").exists());
    let open = |meta: fs::Metadata| meta.permissions().mode() & 0o044 != 0;
    !is_mounted && fs::metadata(path).is_ok_and(open)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Path) -> bool {
    false
}

/// Whether a path leads to a pipe, which would block who opens it until somebody writes to it.
#[cfg(unix)]
pub(crate) fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

#[cfg(not(unix))]
pub(crate) fn is_pipe(_: &Path) -> bool {
    false
}

/// A text without the line break at its end, if it has one.
pub(crate) fn without_line_break(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

/// What is wrong with a file.
#[derive(Debug)]
pub(crate) struct FileError {
    path: PathBuf,
    what: String,
    source: Option<BoxError>,
}

impl FileError {
    pub(crate) fn new(path: &Path, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            what: what.into(),
            source: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the file {} {}", self.path.display(), self.what)
    }
}

impl error::Error for FileError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::scratch::Scratch;

    fn watched(scratch: &Scratch) -> Watched<Zeroizing<String>> {
        let file = Arc::new(PrivateFile::new(scratch.path("secret")));
        Watched::new(move || file.line()).looking_always()
    }

    #[tokio::test(start_paused = true)]
    async fn e13_a_rotated_secret_is_used_and_an_empty_file_keeps_the_last_good_one() {
        let scratch = Scratch::new("rotated");
        let file = watched(&scratch);
        let error = file.current().await.unwrap_err();
        assert!(
            error.to_string().ends_with("secret is not there"),
            "{error}"
        );
        scratch.write("secret", " one \r\n");
        let before = file.epoch();
        assert_eq!(**file.current().await.unwrap(), *" one ");
        for text in ["", "\n", "  \n"] {
            scratch.write("secret", text);
            assert_eq!(**file.current().await.unwrap(), *" one ", "{text:?}");
            assert_eq!(file.epoch(), before);
        }
        scratch.write("secret", "two\n");
        assert_eq!(file.epoch(), before + 1);
        assert_eq!(file.epoch(), before + 1);
        assert_eq!(**file.current().await.unwrap(), *"two");
    }

    #[tokio::test(start_paused = true)]
    async fn e13_a_file_that_was_not_there_at_first_is_a_change() {
        let scratch = Scratch::new("appears");
        let file = watched(&scratch);
        let before = file.epoch();
        scratch.write("secret", "one");
        assert_eq!(file.epoch(), before + 1);
        assert_eq!(file.epoch(), before + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn e13_a_half_written_file_keeps_the_last_good_secret() {
        let scratch = Scratch::new("half-written");
        let file = watched(&scratch);
        scratch.write("secret", "one");
        assert_eq!(**file.current().await.unwrap(), *"one");
        scratch.write("secret", "tw");
        let mut reading = tokio_test::task::spawn(file.current());
        tokio_test::assert_pending!(reading.poll());
        // The rest comes before it has settled.
        scratch.write("secret", "two");
        assert_eq!(**reading.await.unwrap(), *"one");
        assert_eq!(**file.current().await.unwrap(), *"two");
    }

    /// What Kubernetes does: `secret` leads to `..data/secret`, and `..data` to a folder that is swapped.
    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn e13_a_symlink_swap_is_followed() {
        use std::os::unix::fs::symlink;
        let scratch = Scratch::new("swapped");
        let file = watched(&scratch);
        scratch.write("v1/secret", "one");
        scratch.write("v2/secret", "two");
        symlink("v1", scratch.path("..data")).unwrap();
        symlink("..data/secret", scratch.path("secret")).unwrap();
        assert_eq!(**file.current().await.unwrap(), *"one");
        let before = file.epoch();
        symlink("v2", scratch.path("..new")).unwrap();
        fs::rename(scratch.path("..new"), scratch.path("..data")).unwrap();
        assert_eq!(file.epoch(), before + 1);
        assert_eq!(**file.current().await.unwrap(), *"two");
        fs::remove_file(scratch.path("..data")).unwrap();
        assert_eq!(**file.current().await.unwrap(), *"two");
        assert_eq!(file.epoch(), before + 1);
    }

    #[cfg(unix)]
    #[test]
    fn what_others_may_read_is_told_apart() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new("open");
        scratch.write("secret", "one");
        let path = scratch.path("secret");
        for (mode, open) in [(0o600, false), (0o640, true), (0o604, true), (0o400, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_open_to_others(&path), open, "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        scratch.write("..data/secret", "one");
        assert!(!is_open_to_others(&path));
    }

    #[test]
    fn a_file_that_is_far_too_large_is_not_read() {
        let scratch = Scratch::new("large");
        scratch.write("secret", &"x".repeat(FILE_CAP as usize + 1));
        let error = PrivateFile::new(scratch.path("secret")).text().unwrap_err();
        assert!(error.to_string().contains("larger"), "{error}");
    }

    /// A pipe would block who opens it, and a device never end.
    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_read() {
        let scratch = Scratch::new("pipe");
        let pipe = scratch.path("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for path in [pipe, "/dev/zero".into(), scratch.root().to_owned()] {
            let (done, read) = std::sync::mpsc::channel();
            let file = PrivateFile::new(&path);
            std::thread::spawn(move || done.send(file.text().map(drop)));
            let read = read.recv_timeout(Duration::from_secs(5));
            let error = read.expect("an answer").unwrap_err().to_string();
            assert!(error.ends_with("is no regular file"), "{error}");
        }
    }
}
