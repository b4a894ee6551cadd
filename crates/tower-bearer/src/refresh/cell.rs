//! The place of the current token, and the only file that names `arc_swap`.
//!
//! A token in the cell is only ever replaced, never cleared. No guard leaves a function here, so none
//! crosses an await.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwapOption;
use http::HeaderValue;

use crate::{clock::Reading, shard::Shards, token::Token};

use super::{lifetime::Schedule, look::Want};

/// A published token with its schedule. The two are one value, so no reader ever sees the token of one
/// generation with the expiry of another (A11).
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) token: Token,
    /// The header's value, with a reference count for each of a few threads.
    headers: Shards<HeaderValue>,
    pub(crate) schedule: Schedule,
    /// A server rejected the token, and none has accepted it since. Only another entry replaces it.
    rejected: AtomicBool,
}

/// What a token is good for now, for one caller. The order is that of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Usable, and not yet due.
    Fresh,
    /// It may not be used any more.
    Expired,
    /// The caller wants only what a refresh brings.
    Unwanted,
    /// The caller saw it rejected.
    Avoided,
    /// Others saw it rejected.
    Rejected,
    /// Usable, but for less time than the caller wants.
    Short,
    /// Usable, and to be refreshed.
    Due,
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

    /// What this token is good for at `now`, for a caller with this want. Every decision about a token in
    /// the cell asks here.
    #[inline]
    pub(super) fn standing_for(&self, want: Want, now: Reading) -> Standing {
        // Nearly every look ends here, so it is asked first and inlined.
        let may_have = !want.force && want.avoid != Some(self.generation()) && !self.is_rejected();
        if may_have && self.schedule.is_fresh(now) && self.schedule.lasts(want.remaining, now) {
            return Standing::Fresh;
        }
        self.standing_closely(want, now)
    }

    #[inline(never)]
    fn standing_closely(&self, want: Want, now: Reading) -> Standing {
        if self.is_expired(now) {
            Standing::Expired
        } else if want.force {
            Standing::Unwanted
        } else if want.avoid == Some(self.generation()) {
            Standing::Avoided
        } else if self.is_rejected() {
            Standing::Rejected
        } else if !self.schedule.lasts(want.remaining, now) {
            Standing::Short
        } else {
            Standing::Due
        }
    }

    /// The header's value, in this thread's copy.
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
        self.schedule.is_expired(now)
    }

    /// Neither expired nor rejected.
    pub(crate) fn is_usable(&self, now: Reading) -> bool {
        !self.is_rejected() && !self.is_expired(now)
    }

    /// Marks the token as rejected. Returns `false` if it was marked before.
    pub(super) fn mark_rejected(&self) -> bool {
        !self.rejected.swap(true, Ordering::AcqRel)
    }

    /// Takes the mark back: a server accepted the token.
    pub(super) fn withdraw_rejection(&self) {
        self.rejected.store(false, Ordering::Release);
    }
}

/// The current token, for readers without a lock.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    current: ArcSwapOption<Entry>,
}

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

    /// Replaces the current entry. Whoever publishes or marks holds the cache's lock, so a mark never
    /// falls on an entry that is being replaced.
    pub(super) fn publish(&self, entry: Arc<Entry>) {
        self.current.store(Some(entry));
    }
}

#[cfg(test)]
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
        Arc::new(Entry::new(token.issued(0, turn), schedule))
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
