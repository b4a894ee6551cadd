//! Gives each of a few threads a copy of a value, so that they do not contend for one reference count.
//!
//! Threads that count references to the same value pass its cache line from core to core, and wait for it.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

/// The number of copies. With more threads, several share one.
const COUNT: usize = 8;

/// Up to [`COUNT`] copies of a value. Each is made when a thread first asks for it.
#[derive(Debug)]
pub(crate) struct Shards<T>([OnceLock<T>; COUNT]);

impl<T> Shards<T> {
    /// Returns this thread's copy. `make` makes it if it is not there yet.
    #[inline]
    pub(crate) fn own(&self, make: impl FnOnce() -> T) -> &T {
        self.0[of_this_thread()].get_or_init(make)
    }
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; COUNT])
    }
}

/// Returns the index of this thread's copy.
#[inline]
fn of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
    }
    // A thread that is ending has lost its index, and uses the first copy.
    OWN.try_with(|own| *own).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_a_few_threads_makes_a_copy_when_it_first_asks() {
        let copies = Shards::default();
        let made = AtomicUsize::new(0);
        let own = || *copies.own(|| made.fetch_add(1, Ordering::Relaxed));
        let first = own();
        assert_eq!(own(), first);
        assert_eq!(made.load(Ordering::Relaxed), 1);
        let others = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..COUNT).map(|_| scope.spawn(own)).collect();
            let each = threads.into_iter().map(|thread| thread.join().unwrap());
            each.collect::<std::collections::BTreeSet<_>>()
        });
        // Threads of other tests take indices too, so some of these may share a copy.
        assert!(others.len() > COUNT / 2, "{others:?}");
    }
}
