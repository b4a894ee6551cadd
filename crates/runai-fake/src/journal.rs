//! The journal: every request in order, and how it was answered.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Version};
use tokio::sync::watch;

/// The part of the control plane that a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A token endpoint.
    Token,
    /// The API, the UI, or an unknown path.
    Api,
    /// Keycloak's discovery document or its login page.
    Discovery,
}

/// One request, and its answer once there is one.
///
/// ```
/// use runai_fake::{Kind, RunaiFake};
///
/// fn paths_of_the_api(fake: &RunaiFake) -> Vec<String> {
///     let journal = fake.journal().into_iter();
///     journal.filter(|it| it.kind == Kind::Api).map(|it| it.path).collect()
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exchange {
    /// The place in the journal, from 0. [`clear_journal`](crate::RunaiFake::clear_journal) does not
    /// start it again.
    pub seq: usize,
    /// The time from the fake's start to the arrival of the request's head.
    pub at: Duration,
    /// The part of the control plane that the request was for.
    pub kind: Kind,
    /// The number of the TCP connection, from 1.
    pub connection: u64,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, without the question mark.
    pub query: Option<String>,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The request's body, as much of it as was read.
    pub body: Bytes,
    /// True if the body was read to its end.
    pub body_complete: bool,
    /// The generation of the token that was issued, or of the token that the request carried if the
    /// fake had issued it.
    pub generation: Option<u64>,
    /// The application or user that the token belongs to. For a token request that was denied: the one
    /// that it named.
    pub client: Option<String>,
    /// The status of the answer; `None` while there is no answer.
    pub status: Option<u16>,
}

impl Exchange {
    /// Returns the bearer token that the request carried.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        self.headers
            .get(http::header::AUTHORIZATION)?
            .to_str()
            .ok()?
            .strip_prefix("Bearer ")
    }
}

/// Every request since the start or since the journal was cleared.
#[derive(Debug)]
pub(crate) struct Journal {
    started: Instant,
    entries: Mutex<Entries>,
    /// Counts the changes, to wake who waits for one.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Entries {
    kept: Vec<Exchange>,
    /// The number of cleared entries, which is the `seq` of the first kept one.
    cleared: usize,
}

impl Journal {
    #[expect(clippy::disallowed_methods, reason = "this is the fake's own clock")]
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            entries: Mutex::default(),
            changes: watch::channel(0).0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry, sets its `seq` and `at`, and returns its `seq`.
    pub(crate) fn add(&self, mut exchange: Exchange) -> usize {
        #[expect(clippy::disallowed_methods, reason = "this is the fake's own clock")]
        let now = Instant::now();
        let mut entries = self.lock();
        let seq = entries.cleared + entries.kept.len();
        exchange.seq = seq;
        exchange.at = now.duration_since(self.started);
        entries.kept.push(exchange);
        drop(entries);
        self.changed();
        seq
    }

    /// Changes an entry, unless it was cleared meanwhile.
    pub(crate) fn amend(&self, seq: usize, change: impl FnOnce(&mut Exchange)) {
        let mut entries = self.lock();
        let index = seq.checked_sub(entries.cleared);
        if let Some(exchange) = index.and_then(|index| entries.kept.get_mut(index)) {
            change(exchange);
        }
        drop(entries);
        self.changed();
    }

    /// Lets a function read the entries. The function must not call the journal again.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&[Exchange]) -> R) -> R {
        read(&self.lock().kept)
    }

    pub(crate) fn clear(&self) {
        let mut entries = self.lock();
        entries.cleared += entries.kept.len();
        entries.kept.clear();
        drop(entries);
        self.changed();
    }

    /// Waits until a condition holds for the entries.
    pub(crate) async fn wait_for(&self, condition: impl Fn(&[Exchange]) -> bool) {
        let mut changes = self.changes.subscribe();
        while !self.read(&condition) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}
