//! Which of a few copies of a thing a thread takes.
//!
//! Threads that count the references of one thing pass its cache line from core to core, and wait for each
//! other. With a copy for each of a few threads they do not.

use std::sync::atomic::{AtomicUsize, Ordering};

/// So many copies: beyond that threads share them.
const COUNT: usize = 8;

/// A few copies, each on a cache line of its own.
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

    /// This thread's copy.
    #[inline]
    pub(crate) fn own(&self) -> &T {
        &self.0[of_this_thread()].0
    }
}

/// The number of this thread's copy.
#[inline]
fn of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
    }
    // A thread that is ending has none left, and takes the first.
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
