//! Finds a cache by its number.
//!
//! What a request leaves behind while it is on its way holds the number of its cache, not a handle: to count a
//! handle's references on each request would cost as much as the rest of what the layer does to it. Only a
//! rejection looks the cache up, and one that is gone by then has nothing to refresh.

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::refresh::Core;

/// The caches that live.
static CACHES: Mutex<BTreeMap<CacheNumber, Weak<Core>>> = Mutex::new(BTreeMap::new());

/// The number of a cache; no two in one process ever have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CacheNumber(NonZeroU64);

impl CacheNumber {
    /// A number for one more cache.
    pub(crate) fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let last = LAST.fetch_add(1, Ordering::Relaxed);
        Self(NonZeroU64::MIN.saturating_add(last))
    }

    /// Lets the cache of this number be found.
    pub(crate) fn register(self, core: &Arc<Core>) {
        lock().insert(self, Arc::downgrade(core));
    }

    /// Forgets the cache of this number, which is gone.
    pub(crate) fn forget(self) {
        lock().remove(&self);
    }

    /// The cache of this number, if it still lives.
    pub(crate) fn find(self) -> Option<Arc<Core>> {
        // Not under the lock: the last handle's drop takes it too.
        let cache = lock().get(&self).cloned();
        cache?.upgrade()
    }
}

fn lock() -> MutexGuard<'static, BTreeMap<CacheNumber, Weak<Core>>> {
    // Nothing panics while the lock is held.
    CACHES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use crate::{SourceError, TokenCache, source_fn};

    #[test]
    fn a_cache_is_found_until_its_last_handle_is_gone() {
        let source = || source_fn(|_| async { Err(SourceError::transient("nobody asks it")) });
        let (one, other) = (TokenCache::new(source()), TokenCache::new(source()));
        let (number, others) = (one.core().number, other.core().number);
        assert_ne!(number, others);
        assert!(std::sync::Arc::ptr_eq(&number.find().unwrap(), one.core()));
        let clone = one.clone();
        drop(one);
        assert!(number.find().is_some());
        drop(clone);
        assert!(number.find().is_none());
        assert!(!super::lock().contains_key(&number));
        assert!(others.find().is_some());
    }
}
