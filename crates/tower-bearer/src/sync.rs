//! The locks and atomics of the refresh and the cell, which loom takes the place of in its tests.
//!
//! arc-swap and tokio are invisible to loom. So under it the cell is a mutex, and refreshes are completed by
//! the tests: it proves the protocol, and a stress test the cell itself.

#[cfg(not(all(test, tower_bearer_loom)))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic::AtomicBool};

#[cfg(all(test, tower_bearer_loom))]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic::AtomicBool};
