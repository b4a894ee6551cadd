//! Remembers what a request asked for while its redirects are followed.
//!
//! A layer that follows redirects makes each further request, a hop, by itself. It leaves out what it does not know
//! or should not pass on: extensions, an `Authorization` header, all headers. Then a hop looks like a request that
//! asks for nothing. But it calls the inner service while its own future is polled. So the outer half of
//! [`BearerAuthLayer::with_redirects`](super::layer::BearerAuthLayer::with_redirects) puts a memory in this thread's
//! place for that time, and the inner half finds it there. Nothing is written into requests.

use std::{
    cell::RefCell,
    mem,
    sync::atomic::{AtomicU64, Ordering},
};

use http::{Request, header::AUTHORIZATION};

use super::options::RequestOptions;
use crate::error::{Error, Kind};

/// Connects the outer half of a layer with its inner half. No two layers have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair(u64);

impl Pair {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What the hops of one request have asked for so far.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pair: Pair,
    /// The options of the last hop that had any.
    options: Option<RequestOptions>,
    /// A hop had an `Authorization` header of the caller's own.
    own_header: bool,
}

thread_local! {
    /// The memory of the request whose future is polled now on this thread.
    static CURRENT: RefCell<Option<Memory>> = const { RefCell::new(None) };
}

impl Memory {
    pub(super) fn new(pair: Pair) -> Self {
        Self {
            pair,
            options: None,
            own_header: false,
        }
    }
}

/// Runs `run` while `memory` is the current one. Meanwhile `memory` holds the one that was current before.
pub(super) fn within<T>(memory: &mut Option<Memory>, run: impl FnOnce() -> T) -> T {
    // Also after a panic, the memories go back to where they were.
    struct Swapped<'a>(&'a mut Option<Memory>);
    impl Drop for Swapped<'_> {
        fn drop(&mut self) {
            swap(self.0);
        }
    }
    swap(memory);
    let _swapped = Swapped(memory);
    run()
}

fn swap(memory: &mut Option<Memory>) {
    // A thread that is ending has lost its place. Then no hop finds a memory, and none is sent.
    let _no_place = CURRENT.try_with(|current| mem::swap(&mut *current.borrow_mut(), memory));
}

/// Gives a hop the options that it has lost, and remembers what it has. Returns true if the caller's own
/// `Authorization` header belongs onto it, whether or not it still has it.
///
/// # Errors
///
/// If the hop did not come from within the outer half, so nobody knows what was asked for.
pub(super) fn recall<B>(pair: Pair, hop: &mut Request<B>) -> Result<bool, Error> {
    let recalled = CURRENT.try_with(|current| {
        let mut current = current.borrow_mut();
        let memory = current.as_mut().filter(|memory| memory.pair == pair)?;
        match (RequestOptions::find(hop), &memory.options) {
            (Some(own), _) => memory.options = Some(own.clone()),
            (None, Some(lost)) => {
                hop.extensions_mut().insert(lost.clone());
            }
            (None, None) => {}
        }
        memory.own_header |= hop.headers().contains_key(AUTHORIZATION);
        Some(memory.own_header)
    });
    let recalled = recalled.ok().flatten();
    recalled.ok_or_else(|| Error::new(Kind::OutOfHop))
}

#[cfg(test)]
mod tests {
    use std::panic::{self, AssertUnwindSafe};

    use super::*;

    fn hop(pair: Pair) -> Result<bool, Error> {
        recall(pair, &mut Request::new(()))
    }

    #[test]
    fn l24_a_panic_leaves_no_memory_behind() {
        let pair = Pair::new();
        let mut memory = Some(Memory::new(pair));
        let panicking = AssertUnwindSafe(|| within(&mut memory, || panic!("a layer in between")));
        panic::catch_unwind(panicking).unwrap_err();
        assert!(memory.is_some_and(|memory| memory.pair == pair));
        assert!(hop(pair).is_err());
    }

    #[test]
    fn l24_only_the_outer_half_of_the_same_layer_counts() {
        let (one, other) = (Pair::new(), Pair::new());
        let (mut outer, mut inner) = (Some(Memory::new(one)), Some(Memory::new(other)));
        within(&mut outer, || {
            assert!(hop(one).is_ok() && hop(other).is_err());
            within(&mut inner, || {
                assert!(hop(one).is_err() && hop(other).is_ok())
            });
            assert!(hop(one).is_ok() && hop(other).is_err());
        });
        assert!(hop(one).is_err());
    }
}
