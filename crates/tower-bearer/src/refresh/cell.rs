//! The one place where the current token stands, and the only file that names `arc_swap`.
//!
//! A token in the cell is only ever replaced, never cleared. No guard leaves a function here, so none
//! crosses an await.

use std::sync::{Arc, atomic::Ordering};

#[cfg(not(all(test, tower_bearer_loom)))]
use arc_swap::ArcSwapOption;

use http::HeaderValue;

use crate::{clock::Reading, shard::Shards, sync::AtomicBool, token::Token};

use super::lifetime::{Schedule, Standing};

/// A published token with its schedule. The two are one value, so that no reader ever sees the token
/// of one generation with the expiry of another (A11).
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) token: Token,
    /// The header's value, with a reference count for each of a few threads.
    headers: Shards<HeaderValue>,
    pub(crate) schedule: Schedule,
    /// Rejected by a server, not expired. It is never taken back: only another entry replaces it.
    rejected: AtomicBool,
}

impl Entry {
    pub(crate) fn new(token: Token, schedule: Schedule) -> Self {
        Self {
            headers: Shards::default(),
            token,
            schedule,
            rejected: AtomicBool::new(false),
        }
    }

    /// The header's value, this thread's own.
    #[inline]
    pub(crate) fn header_value(&self) -> HeaderValue {
        self.headers
            .own(|| self.token.recounted_header_value())
            .clone()
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.token.generation()
    }

    #[inline]
    pub(crate) fn is_rejected(&self) -> bool {
        self.rejected.load(Ordering::Acquire)
    }

    pub(crate) fn is_expired(&self, now: Reading) -> bool {
        self.schedule.standing(now) == Standing::Expired
    }

    /// Whether anybody may be handed this token without a second thought.
    pub(crate) fn is_usable(&self, now: Reading) -> bool {
        !self.is_rejected() && !self.is_expired(now)
    }

    /// Marks the token as rejected; says whether it was not before.
    pub(crate) fn mark_rejected(&self) -> bool {
        !self.rejected.swap(true, Ordering::AcqRel)
    }
}

#[cfg(not(all(test, tower_bearer_loom)))]
#[derive(Debug, Default)]
pub(crate) struct Cell {
    current: ArcSwapOption<Entry>,
}

#[cfg(not(all(test, tower_bearer_loom)))]
impl Cell {
    /// Reads the current entry without a lock.
    #[inline]
    pub(crate) fn read<R>(&self, look: impl FnOnce(Option<&Entry>) -> R) -> R {
        look(self.current.load().as_deref())
    }

    /// The current entry, to keep.
    pub(crate) fn current(&self) -> Option<Arc<Entry>> {
        self.current.load_full()
    }

    /// Replaces the current entry. All who publish or mark hold the refresh's lock, so a mark never
    /// falls on an entry that is being replaced.
    pub(crate) fn publish(&self, entry: Arc<Entry>) {
        self.current.store(Some(entry));
    }
}

/// The same to loom, which cannot look into arc-swap.
#[cfg(all(test, tower_bearer_loom))]
#[derive(Debug, Default)]
pub(crate) struct Cell {
    current: crate::sync::Mutex<Option<Arc<Entry>>>,
}

#[cfg(all(test, tower_bearer_loom))]
impl Cell {
    pub(crate) fn read<R>(&self, look: impl FnOnce(Option<&Entry>) -> R) -> R {
        look(self.current().as_deref())
    }

    pub(crate) fn current(&self) -> Option<Arc<Entry>> {
        self.current.lock().unwrap().clone()
    }

    pub(crate) fn publish(&self, entry: Arc<Entry>) {
        *self.current.lock().unwrap() = Some(entry);
    }
}

#[cfg(test)]
#[cfg(not(tower_bearer_loom))]
mod tests {
    use std::{
        sync::atomic::AtomicU64,
        thread,
        time::{Duration, UNIX_EPOCH},
    };

    use super::*;
    use crate::refresh::lifetime::Policy;

    /// An entry whose secret, generation and schedule all tell its cache and its turn.
    fn entry(cache: u64, turn: u64) -> Arc<Entry> {
        let sent = Reading::new(Duration::from_secs(turn), UNIX_EPOCH);
        let lifetime = Duration::from_secs(1000 + cache);
        let schedule = Schedule::new(sent, lifetime, &Policy::default(), 0.0);
        let token = Token::new(format!("{cache}-{turn}")).unwrap();
        Arc::new(Entry::new(token.with_generation(turn), schedule))
    }

    #[test]
    fn a11_readers_never_see_a_torn_a_foreign_or_an_older_entry() {
        const CACHES: u64 = 8;
        const TURNS: u64 = 2000;
        let cells: Vec<Cell> = (0..CACHES).map(|_| Cell::default()).collect();
        let published: Vec<AtomicU64> = (0..CACHES).map(|_| AtomicU64::new(0)).collect();
        let looks = AtomicU64::new(0);
        thread::scope(|scope| {
            for half in 0..2 {
                let (cells, published) = (&cells, &published);
                scope.spawn(move || {
                    for turn in 1..=TURNS {
                        for cache in (half..CACHES).step_by(2) {
                            cells[cache as usize].publish(entry(cache, turn));
                            published[cache as usize].store(turn, Ordering::Release);
                        }
                    }
                });
            }
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut seen = [0; CACHES as usize];
                    while seen.iter().any(|turn| *turn < TURNS) {
                        for (cache, cell) in cells.iter().enumerate() {
                            let at_least = published[cache].load(Ordering::Acquire);
                            let found = cell.read(|found| {
                                found.map(|it| (it.token.clone(), it.generation(), it.schedule))
                            });
                            let Some((token, turn, schedule)) = found else {
                                assert_eq!(at_least, 0);
                                continue;
                            };
                            assert_eq!(token.expose_secret(), format!("{cache}-{turn}"));
                            assert_eq!(schedule, entry(cache as u64, turn).schedule);
                            assert!(turn >= seen[cache] && turn >= at_least);
                            seen[cache] = turn;
                            looks.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert!(looks.into_inner() >= CACHES);
    }
}
