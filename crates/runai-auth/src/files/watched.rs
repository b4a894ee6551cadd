//! Following files that change under a running program: secrets that are rotated, logins that are
//! refreshed, certificates that are replaced.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use super::error::FileError;

/// The least time between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long files must stay unchanged before they count as completely written.
const SETTLING_TIME: Duration = Duration::from_millis(20);

/// A value that is read from files. While the files are missing, empty or half-written, the last good value
/// stays: so it is for a moment when Kubernetes swaps a mounted secret.
pub(crate) struct Watched<T> {
    read: Box<dyn Fn() -> Result<T, FileError> + Send + Sync>,
    interval: Duration,
    /// When the files were looked at last. Whoever looks holds the lock meanwhile.
    looked: Mutex<Option<Instant>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// The last value that was returned by [`Watched::current`].
    good: Option<T>,
    /// The last value that a look found, settled or not.
    seen: Option<T>,
    epoch: u64,
}

impl<T: Clone + PartialEq> Watched<T> {
    /// Makes it of a function that reads the value, and that fails where the files do not hold a whole one.
    pub(crate) fn new(read: impl Fn() -> Result<T, FileError> + Send + Sync + 'static) -> Self {
        Self {
            read: Box::new(read),
            interval: LOOK_INTERVAL,
            looked: Mutex::new(None),
            state: Mutex::new(State {
                good: None,
                seen: None,
                epoch: 0,
            }),
        }
    }

    /// Looks at the files whenever it is asked.
    #[cfg(test)]
    pub(crate) fn looking_always(mut self) -> Self {
        self.interval = Duration::ZERO;
        self
    }

    /// Reads the value that the files hold now.
    pub(crate) fn read(&self) -> Result<T, FileError> {
        (self.read)()
    }

    /// Returns the last value that [`current`](Self::current) returned.
    pub(crate) fn last(&self) -> Option<T> {
        self.state().good.clone()
    }

    /// Returns the value that the files hold, once it has settled, else the last good one.
    pub(crate) async fn current(&self) -> Result<T, FileError> {
        let first = self.read();
        let good = self.last();
        let (first, good) = match (first, good) {
            (Ok(first), Some(good)) if first == good => return Ok(good),
            (Err(_), Some(good)) => return Ok(good),
            (first, good) => (first?, good),
        };
        tokio::time::sleep(SETTLING_TIME).await;
        match (self.read(), good) {
            (Ok(second), _) if second == first => {
                self.state().good = Some(second.clone());
                Ok(second)
            }
            (_, Some(good)) => Ok(good),
            (second, None) => second,
        }
    }

    /// Returns a number that grows when the value in the files changes.
    pub(crate) fn epoch(&self) -> u64 {
        self.look();
        self.state().epoch
    }

    /// Returns the last value that was read, with its epoch, for callers that cannot wait until it settles.
    /// The function that reads must find out by itself whether a value is half-written, as it does for PEM.
    pub(crate) fn latest(&self) -> (u64, Option<T>) {
        self.look();
        let state = self.state();
        (state.epoch, state.seen.clone())
    }

    /// Takes a value that this program itself has just written: it is settled, and not a change.
    pub(crate) fn written(&self, value: T) {
        let mut state = self.state();
        state.seen = Some(value.clone());
        state.good = Some(value);
    }

    /// Looks at the files, unless that was done a moment ago.
    #[expect(
        clippy::disallowed_methods,
        reason = "a bound on file accesses needs no test's clock"
    )]
    fn look(&self) {
        let knows_a_value = self.state().seen.is_some();
        // One caller looks, and the others go on with the value that is known: a slow disk must not hold
        // them all up.
        let mut looked = match self.looked.try_lock() {
            Ok(looked) => looked,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if knows_a_value => return,
            Err(TryLockError::WouldBlock) => {
                self.looked.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
        let now = Instant::now();
        let is_recent = |last| now.saturating_duration_since(last) < self.interval;
        if looked.is_some_and(is_recent) {
            return;
        }
        // The first look sets the baseline. A file that appears later counts as a change.
        let is_baseline = looked.replace(now).is_none() && !knows_a_value;
        // Files that cannot be read have not changed: the last good value stays.
        if let Ok(read) = self.read() {
            let mut state = self.state();
            if state.seen.as_ref() != Some(&read) {
                state.epoch += u64::from(!is_baseline);
                state.seen = Some(read);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use tempfile::{TempDir, tempdir};
    use zeroize::Zeroizing;

    use super::super::read::{FileKind, read_line};
    use super::*;

    fn watched(folder: &TempDir) -> Watched<Zeroizing<String>> {
        let path = folder.path().join("secret");
        Watched::new(move || read_line(&path, FileKind::Secret)).looking_always()
    }

    fn write(folder: &TempDir, text: &str) {
        fs::write(folder.path().join("secret"), text).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn e13_a_rotated_secret_is_used_and_an_empty_file_keeps_the_last_good_one() {
        let folder = tempdir().unwrap();
        let file = watched(&folder);
        let error = file.current().await.unwrap_err();
        assert!(
            error.message().ends_with("secret does not exist"),
            "{error}"
        );
        write(&folder, " one \r\n");
        let before = file.epoch();
        assert_eq!(**file.current().await.unwrap(), *" one ");
        for text in ["", "\n", "  \n"] {
            write(&folder, text);
            assert_eq!(**file.current().await.unwrap(), *" one ", "{text:?}");
            assert_eq!(file.epoch(), before);
        }
        write(&folder, "two\n");
        assert_eq!(file.epoch(), before + 1);
        assert_eq!(file.epoch(), before + 1);
        assert_eq!(**file.current().await.unwrap(), *"two");
    }

    #[tokio::test(start_paused = true)]
    async fn e13_a_file_that_did_not_exist_at_first_is_a_change() {
        let folder = tempdir().unwrap();
        let file = watched(&folder);
        let before = file.epoch();
        write(&folder, "one");
        assert_eq!(file.epoch(), before + 1);
        assert_eq!(file.epoch(), before + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn e13_a_half_written_file_keeps_the_last_good_secret() {
        let folder = tempdir().unwrap();
        let file = watched(&folder);
        write(&folder, "one");
        assert_eq!(**file.current().await.unwrap(), *"one");
        write(&folder, "tw");
        let mut reading = tokio_test::task::spawn(file.current());
        tokio_test::assert_pending!(reading.poll());
        // The rest comes before it has settled.
        write(&folder, "two");
        assert_eq!(**reading.await.unwrap(), *"one");
        assert_eq!(**file.current().await.unwrap(), *"two");
    }

    /// What Kubernetes does: `secret` leads to `..data/secret`, and `..data` to a folder that is swapped.
    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn e13_a_symlink_swap_is_followed() {
        use std::os::unix::fs::symlink;
        let folder = tempdir().unwrap();
        let file = watched(&folder);
        let path = |name: &str| folder.path().join(name);
        for (version, text) in [("v1", "one"), ("v2", "two")] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("secret"), text).unwrap();
        }
        symlink("v1", path("..data")).unwrap();
        symlink("..data/secret", path("secret")).unwrap();
        assert_eq!(**file.current().await.unwrap(), *"one");
        let before = file.epoch();
        symlink("v2", path("..new")).unwrap();
        fs::rename(path("..new"), path("..data")).unwrap();
        assert_eq!(file.epoch(), before + 1);
        assert_eq!(**file.current().await.unwrap(), *"two");
        fs::remove_file(path("..data")).unwrap();
        assert_eq!(**file.current().await.unwrap(), *"two");
        assert_eq!(file.epoch(), before + 1);
    }

    #[test]
    fn p04_one_slow_look_does_not_hold_up_the_others() {
        use std::sync::{Arc, Barrier};
        let (reading, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (slow, gate) = (reading.clone(), go_on.clone());
        let file = Arc::new(
            Watched::new(move || {
                slow.wait();
                gate.wait();
                Err::<u32, _>(FileError::new(Path::new("x"), "is slow"))
            })
            .looking_always(),
        );
        file.written(1);
        let looker = {
            let file = file.clone();
            std::thread::spawn(move || file.latest())
        };
        reading.wait();
        // The other thread is in the middle of its look.
        let (done, latest) = std::sync::mpsc::channel();
        let another = file.clone();
        std::thread::spawn(move || done.send(another.latest()));
        let latest = latest.recv_timeout(Duration::from_secs(5));
        assert_eq!(latest, Ok((0, Some(1))), "it is held up");
        go_on.wait();
        assert_eq!(looker.join().unwrap(), (0, Some(1)));
    }
}
