//! Notices a source that asks the cache that it works for (G46): it would wait for itself.
//!
//! While a fetch is made, polled or dropped, its thread knows for which cache that happens. So a request for
//! a token is noticed if it is made or polled there. A task that the fetch spawns is on its own: a request
//! that is both made and polled in it looks like anybody's.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Whether a fetch has asked its own cache.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(Arc<AtomicBool>);

impl Asked {
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

thread_local! {
    /// The fetches that this thread works on, one within the other, by the ids of their caches.
    static FETCHES: RefCell<Vec<(u64, Asked)>> = const { RefCell::new(Vec::new()) };
}

/// Runs a piece of a fetch for the cache with this id.
pub(super) fn within<R>(cache: u64, asked: &Asked, piece: impl FnOnce() -> R) -> R {
    struct Left(bool);
    impl Drop for Left {
        fn drop(&mut self) {
            if self.0 {
                let _ended = FETCHES.try_with(|fetches| fetches.borrow_mut().pop());
            }
        }
    }
    let entered = FETCHES.try_with(|fetches| fetches.borrow_mut().push((cache, asked.clone())));
    // It leaves in an unwind too.
    let _left = Left(entered.is_ok());
    piece()
}

/// Returns the fetch for the cache with this id that the thread works on, if there is one.
pub(super) fn current(cache: u64) -> Option<Asked> {
    let found = FETCHES.try_with(|fetches| {
        let fetches = fetches.borrow();
        let found = fetches.iter().find(|(of, _)| *of == cache);
        found.map(|(_, asked)| asked.clone())
    });
    found.ok().flatten()
}
