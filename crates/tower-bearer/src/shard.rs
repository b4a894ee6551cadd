//! Picks one of a few copies of a value for the calling thread, to avoid contention on one reference count.
//!
//! Threads that count the references of one value pass its cache line from core to core and wait for each
//! other. With a copy for each of a few threads they do not.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many copies there are. More threads than that share them.
const COUNT: usize = 8;

/// A few copies of a value, each on a separate cache line.
#[derive(Debug)]
pub(crate) struct Shards<T>([Alone<T>; COUNT]);

#[derive(Debug)]
#[repr(align(64))]
struct Alone<T>(T);

impl<T> Shards<T> {
    /// Makes each copy.
    pub(crate) fn of(make: impl Fn() -> T) -> Self {
        Self(std::array::from_fn(|_| Alone(make())))
    }

    /// Returns this thread's copy.
    #[inline]
    pub(crate) fn own(&self) -> &T {
        &self.0[of_this_thread()].0
    }
}

/// Returns the number of this thread's copy.
#[inline]
fn of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
    }
    // A thread that is ending has lost its number, and takes the first copy.
    OWN.try_with(|own| *own).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_a_few_threads_has_a_copy_of_its_own() {
        let copies = Shards::of(|| 0u8);
        let place = |copies: &Shards<u8>| std::ptr::from_ref(copies.own()).addr();
        let first = place(&copies);
        assert_eq!(place(&copies), first);
        assert_eq!(first % 64, 0);
        let others = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..COUNT).map(|_| scope.spawn(|| place(&copies))).collect();
            let each = threads.into_iter().map(|thread| thread.join().unwrap());
            each.collect::<std::collections::BTreeSet<_>>()
        });
        // Other tests' threads count too, so not each has to be another.
        assert!(others.len() > COUNT / 2, "{others:?}");
    }
}
