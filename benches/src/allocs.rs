//! Counts allocations. Only a process that counts them has this allocator.

use std::alloc::System;

use stats_alloc::{Region, StatsAlloc};

/// The allocations and the bytes of each call of `run`.
pub fn per_call(
    allocator: &StatsAlloc<System>,
    calls: usize,
    mut run: impl FnMut(u64),
) -> (f64, f64) {
    run(100);
    let region = Region::new(allocator);
    run(calls as u64);
    let change = region.change();
    let count = change.allocations + change.reallocations;
    (
        count as f64 / calls as f64,
        change.bytes_allocated as f64 / calls as f64,
    )
}

/// The live bytes since `region` began.
pub fn live(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change
        .bytes_allocated
        .saturating_sub(change.bytes_deallocated)
}
