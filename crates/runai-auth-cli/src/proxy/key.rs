//! The key that callers must send, if there is one.

use std::{
    fs,
    path::PathBuf,
    sync::{
        RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use http::HeaderName;
use ring::digest::{SHA256, digest};
use tracing::{info, warn};

use crate::{clock, failure::Failure};

/// The shortest time between two reads of the file.
const EVERY_MS: u64 = 1000;

/// A header that callers may send the key in.
pub(crate) const KEY_HEADER: HeaderName = HeaderName::from_static("x-runai-auth-key");

type Digest = [u8; 32];

/// The inbound key. Digests are compared, so the time that a comparison takes tells nothing about the key.
#[derive(Debug)]
pub(crate) struct Key {
    file: Option<PathBuf>,
    digest: RwLock<Digest>,
    looked_at: AtomicU64,
}

impl Key {
    /// The key in a file, which may be rotated. One line break at its end is not part of it.
    pub(crate) fn file(path: PathBuf) -> Result<Self, Failure> {
        let hint = "Write a long random text into it: `head -c 32 /dev/urandom | base64`";
        let told = |why: String| {
            Failure::usage(
                format!("the inbound key's file {}: {why}", path.display()),
                hint,
            )
        };
        let text = fs::read(&path).map_err(|error| told(error.to_string()))?;
        let key = line(&text);
        if key.is_empty() {
            return Err(told("it is empty".into()));
        }
        if key.len() < 16 {
            warn!("the inbound key is short; {hint}");
        }
        let digest = digest_of(key);
        Ok(Self {
            file: Some(path),
            digest: RwLock::new(digest),
            looked_at: AtomicU64::new(clock::monotonic_ms()),
        })
    }

    /// Makes a key that never changes.
    pub(crate) fn fixed(key: &str) -> Self {
        Self {
            file: None,
            digest: RwLock::new(digest_of(key.as_bytes())),
            looked_at: AtomicU64::new(0),
        }
    }

    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        let digest = match self.digest.read() {
            Ok(digest) => *digest,
            Err(poisoned) => *poisoned.into_inner(),
        };
        digest_of(shown) == digest
    }

    /// Reads the file again, if it was not read a moment ago. A file that is gone or empty keeps the last
    /// key: somebody is writing it.
    pub(crate) fn follow(&self) {
        let Some(path) = &self.file else { return };
        let now = clock::monotonic_ms();
        let last = self.looked_at.load(Relaxed);
        let is_due = now.saturating_sub(last) >= EVERY_MS;
        if !is_due
            || self
                .looked_at
                .compare_exchange(last, now, Relaxed, Relaxed)
                .is_err()
        {
            return;
        }
        let Ok(text) = fs::read(path) else { return };
        let key = line(&text);
        if key.is_empty() || self.is(key) {
            return;
        }
        let mut held = match self.digest.write() {
            Ok(held) => held,
            Err(poisoned) => poisoned.into_inner(),
        };
        *held = digest_of(key);
        info!("the inbound key has changed");
    }
}

fn digest_of(key: &[u8]) -> Digest {
    let mut copy = [0; 32];
    copy.copy_from_slice(digest(&SHA256, key).as_ref());
    copy
}

/// Without the line break at its end.
fn line(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
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

    #[test]
    fn a_line_break_is_no_part_of_it() {
        assert_eq!(line(b"key\r\n"), b"key");
        assert_eq!(line(b"key\n"), b"key");
        assert_eq!(line(b"key \n\n"), b"key \n");
    }
}
