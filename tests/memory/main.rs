//! What a cache costs, and a request that waits: the numbers of docs/limits.md.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

use std::{alloc::System, future::Future, hint::black_box, pin::pin, task::Context};

use futures_util::task::noop_waker_ref;
use runai_auth::tower_bearer::{Token, TokenCache, source_fn};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

mod upload;

/// What is allocated is counted for the whole process, so one test runs at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const MANY: usize = 1000;

/// The live bytes that each of many of these costs, what is on its stack or in a vector included.
fn bytes_each<T>(mut make: impl FnMut() -> T) -> usize {
    let mut kept = Vec::with_capacity(MANY);
    let region = Region::new(ALLOCATOR);
    for _ in 0..MANY {
        kept.push(make());
    }
    let change = region.change();
    let live = change.bytes_allocated - change.bytes_deallocated;
    black_box(&kept);
    live / MANY + size_of::<T>()
}

#[tokio::test]
async fn g37_a_cache_and_a_request_that_waits_are_small() {
    let _alone = ALONE.lock().await;
    let idle = bytes_each(|| TokenCache::new(source_fn(|_| std::future::pending())));
    let full = {
        let secret = "t".repeat(1200);
        let cache = TokenCache::new(source_fn(move |_| {
            let token = Token::new(secret.clone()).unwrap();
            async { Ok(token) }
        }));
        cache.token().await.unwrap();
        // What a token of 1200 bytes adds is its header.
        cache.peek().unwrap().header_value().len()
    };
    let cache = TokenCache::new(source_fn(|_| std::future::pending()));
    let mut first = pin!(cache.token());
    let mut cx = Context::from_waker(noop_waker_ref());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    let waiting = bytes_each(|| {
        let mut waiting = Box::pin(cache.token());
        let mut cx = Context::from_waker(noop_waker_ref());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        waiting
    });
    println!("an idle cache: {idle} bytes; its token: {full}; a caller that waits: {waiting}");
    assert!(idle <= 2048, "{idle}");
    assert_eq!(full, 1207);
    assert!(waiting <= 512, "{waiting}");
}
