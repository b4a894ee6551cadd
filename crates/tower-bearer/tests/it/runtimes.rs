//! Runtimes that end, are parked, have no timer or are not there, and handles that go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio_test::{assert_pending, assert_ready, task};
use tower_bearer::{Error, Kind, Phase, Token, TokenCache, source_fn};

use crate::support::{cache, settle, token};

#[test]
fn a12_a_runtime_with_one_worker_does_not_lock_itself() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let cache = TokenCache::new(source_fn(|_| async { Ok(Token::new("t1")?) }));
    let token = runtime.block_on(async { tokio::spawn(cache.token()).await.unwrap() });
    assert_eq!(token.unwrap().expose_secret(), "t1");
}

#[test]
fn a13_another_runtime_takes_over_where_one_was_shut_down() {
    let current = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let (cache, control) = cache();
    let first = current();
    let hanging = first.block_on(async {
        let mut leader = task::spawn(cache.token());
        assert_pending!(leader.poll());
        control.asked().await
    });
    assert_eq!(cache.status().phase, Phase::Refreshing);
    let second = current();
    second.block_on(async {
        let mut follower = task::spawn(cache.token());
        assert_pending!(follower.poll());
        drop(hanging);
        first.shutdown_background();
        assert!(
            follower.is_woken(),
            "the lost refresh wakes who waits for it"
        );
        assert_pending!(follower.poll());
        control.asked().await.token("t1");
        settle().await;
        assert_eq!(
            assert_ready!(follower.poll()).unwrap().expose_secret(),
            "t1"
        );
    });
    assert_eq!(control.calls(), 2);
}

#[test]
fn a14_a_refresh_on_a_parked_runtime_is_replaced_after_its_total_time_out() {
    let current = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let (cache, control) = cache();
    let parked = current();
    parked.block_on(async {
        let mut leader = task::spawn(cache.token());
        assert_pending!(leader.poll());
    });
    // From here on nobody drives the first runtime.
    current().block_on(async {
        let mut follower = task::spawn(cache.token());
        assert_pending!(follower.poll());
        control.advance(31.5);
        assert!(follower.is_woken());
        assert_pending!(follower.poll());
        control.asked().await.token("t1");
        settle().await;
        assert_eq!(
            assert_ready!(follower.poll()).unwrap().expose_secret(),
            "t1"
        );
    });
    drop(parked);
}

#[test]
fn a14_outside_any_runtime_there_is_a_typed_error() {
    let (cache, control) = cache();
    let mut caller = task::spawn(cache.token());
    let error: Error = assert_ready!(caller.poll()).unwrap_err();
    assert_eq!(*error.kind(), Kind::NoRuntime);
    assert_eq!(control.calls(), 0);
}

#[tokio::test]
async fn f01_dropping_the_last_handle_ends_the_refresh() {
    struct Ended(Arc<AtomicUsize>);
    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let ended = Arc::new(AtomicUsize::new(0));
    let guard = ended.clone();
    let cache = TokenCache::new(source_fn(move |_| {
        let guard = Ended(guard.clone());
        async move {
            std::future::pending::<()>().await;
            drop(guard);
            Ok(token("never"))
        }
    }));
    let mut caller = task::spawn(cache.token());
    assert_pending!(caller.poll());
    settle().await;
    drop(cache);
    settle().await;
    assert_eq!(
        ended.load(Ordering::SeqCst),
        0,
        "the caller holds a handle too"
    );
    drop(caller);
    settle().await;
    assert_eq!(ended.load(Ordering::SeqCst), 1);
}

#[test]
fn f08_two_runtimes_use_one_cache_at_once() {
    let cache = TokenCache::new(source_fn(|_| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(Token::new("t1")?.expires_in(Duration::from_secs(3600)))
    }));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let cache = cache.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_time()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let callers: Vec<_> = (0..100).map(|_| tokio::spawn(cache.token())).collect();
                    for caller in callers {
                        assert_eq!(caller.await.unwrap().unwrap().generation(), 1);
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    // One, or two if the runtime of the first ended under it.
    assert!((1..=2).contains(&cache.status().counts.fetches));
}

#[test]
fn a13_a_runtime_that_ends_in_an_unwind_is_lost_and_the_source_not_blamed() {
    let (cache, control) = cache();
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut leader = task::spawn(cache.token());
            assert_pending!(leader.poll());
            control.asked().await
        });
        panic!("a bug elsewhere");
    }));
    assert!(unwound.is_err());
    assert_eq!(cache.status().phase, Phase::Idle);
}

#[test]
fn a14_rejections_outside_a_runtime_do_not_use_up_the_bucket() {
    let (cache, control) = cache();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let t1 = runtime.block_on(control.fill(&cache, "t1"));
    for _ in 0..5 {
        drop(cache.reject(&t1));
    }
    runtime.block_on(async {
        let rejecter = tokio::spawn(cache.reject(&t1));
        control.asked().await.token("t2");
        assert_eq!(rejecter.await.unwrap().unwrap().expose_secret(), "t2");
    });
}
