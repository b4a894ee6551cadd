//! The one place where the current token stands, and the only file that names `arc_swap`.
//!
//! A token in the cell is only ever replaced, never cleared. No guard leaves a function here, so none
//! crosses an await.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwapOption;

use crate::{
    clock::Reading,
    lifetime::{Schedule, Standing},
    token::Token,
};

/// A published token with its schedule. The two are one value, so that no reader ever sees the token
/// of one generation with the expiry of another (A11).
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) token: Token,
    pub(crate) schedule: Schedule,
    /// Rejected by a server, not expired. It is never taken back: only another entry replaces it.
    suspect: AtomicBool,
}

impl Entry {
    pub(crate) fn new(token: Token, schedule: Schedule) -> Self {
        Self {
            token,
            schedule,
            suspect: AtomicBool::new(false),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.token.generation()
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    pub(crate) fn is_expired(&self, now: Reading) -> bool {
        self.schedule.standing(now) == Standing::Expired
    }

    /// Whether anybody may be handed this token without a second thought.
    pub(crate) fn is_usable(&self, now: Reading) -> bool {
        !self.is_suspect() && !self.is_expired(now)
    }

    /// Marks the token as rejected; says whether it was not before.
    pub(crate) fn mark_suspect(&self) -> bool {
        !self.suspect.swap(true, Ordering::AcqRel)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Cell {
    current: ArcSwapOption<Entry>,
}

impl Cell {
    /// Reads the current entry without a lock.
    pub(crate) fn read<R>(&self, look: impl FnOnce(Option<&Entry>) -> R) -> R {
        look(self.current.load().as_deref())
    }

    /// The current entry, to keep.
    pub(crate) fn current(&self) -> Option<Arc<Entry>> {
        self.current.load_full()
    }

    /// Replaces the current entry. All who publish or mark hold the renewal's lock, so a mark never
    /// falls on an entry that is being replaced.
    pub(crate) fn publish(&self, entry: Arc<Entry>) {
        self.current.store(Some(entry));
    }
}
