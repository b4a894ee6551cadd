//! The key that callers must send, if there is one.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use http::HeaderName;
use ring::digest::{SHA256, digest};
use runai_auth::{FileErrorKind, SecretFile, SecretText};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use crate::failure::{Failure, capitalized};

/// The time between two reads of the file.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a file that holds no key has to become one.
const SETTLING_TIME: Duration = Duration::from_millis(100);

/// The length below which a key gets a warning.
const SHORT: usize = 16;

/// A header that callers may send the key in.
pub(crate) const KEY_HEADER: HeaderName = HeaderName::from_static("x-runai-auth-key");

type Digest = [u8; 32];

/// The inbound key. Digests are compared, so the time that a comparison takes tells nothing about the key.
#[derive(Debug)]
pub(crate) struct Key {
    digest: Arc<RwLock<Digest>>,
    /// Follows the file, if there is one, as long as the key is used.
    follower: Option<AbortHandle>,
}

impl Key {
    /// Reads the key from a file, and follows the file when it is replaced. One line break at its end is not
    /// part of the key.
    ///
    /// A task of its own reads the file, so no request waits for a disk.
    pub(crate) fn file(path: PathBuf) -> Result<Self, Failure> {
        let hint = "Write a long random text into it: `head -c 32 /dev/urandom | base64`";
        let file = SecretFile::new(path);
        let key = file.read().map_err(|error| {
            let hint = match (error.kind(), error.advice()) {
                (FileErrorKind::NotFound | FileErrorKind::Empty, _) | (_, None) => hint.to_owned(),
                (_, Some(advice)) => capitalized(advice),
            };
            Failure::usage(format!("--inbound-key-file: {}", error.message()), hint)
        })?;
        if let Some(flaw) = flaw(&key) {
            return Err(Failure::usage(
                format!("--inbound-key-file: the key {flaw}"),
                hint,
            ));
        }
        if key.expose_secret().len() < SHORT {
            warn!("the inbound key is short; {hint}");
        }
        let digest = Arc::new(RwLock::new(digest_of(key.expose_secret().as_bytes())));
        let follower = tokio::spawn(follow(file, digest.clone())).abort_handle();
        Ok(Self {
            digest,
            follower: Some(follower),
        })
    }

    /// Makes a key that never changes.
    pub(crate) fn fixed(key: &str) -> Self {
        Self {
            digest: Arc::new(RwLock::new(digest_of(key.as_bytes()))),
            follower: None,
        }
    }

    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        let digest = *self.digest.read().unwrap_or_else(PoisonError::into_inner);
        digest_of(shown) == digest
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}

/// Takes over what the file holds, once it has settled. While the file is missing or holds no key, the last key stays.
async fn follow(file: SecretFile, digest: Arc<RwLock<Digest>>) {
    let mut warned = None;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let mut problem = problem(&file);
        if problem.is_some() && problem != warned {
            // It may be half replaced.
            tokio::time::sleep(SETTLING_TIME).await;
            problem = self::problem(&file);
        }
        match problem {
            None => warned = None,
            Some(problem) => {
                if warned.as_ref() != Some(&problem) {
                    warn!("the inbound key stays as it was: {problem}");
                    warned = Some(problem);
                }
                continue;
            }
        }
        let Ok(key) = file.current().await else {
            continue;
        };
        if flaw(&key).is_some() {
            continue;
        }
        let new = digest_of(key.expose_secret().as_bytes());
        let mut held = digest.write().unwrap_or_else(PoisonError::into_inner);
        if *held != new {
            *held = new;
            info!("the inbound key has changed");
        }
    }
}

/// Returns why the file holds no key now.
fn problem(file: &SecretFile) -> Option<String> {
    match file.read() {
        Ok(key) => flaw(&key).map(|flaw| format!("{} {flaw}", file.path().display())),
        Err(error) => Some(error.message().to_owned()),
    }
}

/// Returns why a text cannot be a key.
fn flaw(key: &SecretText) -> Option<&'static str> {
    let has_control = key.expose_secret().contains(char::is_control);
    has_control.then_some("contains a control character, which no caller can send")
}

fn digest_of(key: &[u8]) -> Digest {
    let mut copy = [0; 32];
    copy.copy_from_slice(digest(&SHA256, key).as_ref());
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_itself_is_taken() {
        let key = Key::fixed("correct horse");
        assert!(key.is(b"correct horse"));
        for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
            assert!(!key.is(wrong.as_bytes()), "{wrong}");
        }
    }
}
