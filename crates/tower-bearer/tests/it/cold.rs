//! Cold start and concurrency.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio_test::{assert_pending, assert_ready, task};
use tower_bearer::{Error, Kind, Phase, Reason, SourceError, Token, TokenCache, source_fn};

use crate::support::{cache, chain, scripted, settle, token};

#[tokio::test]
async fn a01_a_thousand_first_callers_cost_one_fetch() {
    let (cache, control) = cache();
    let callers: Vec<_> = (0..1000).map(|_| tokio::spawn(cache.token())).collect();
    let fetching = control.asked().await;
    assert_eq!(fetching.cx.reason(), Reason::Initial);
    settle().await;
    fetching.token("t1");
    for caller in callers {
        let token = caller.await.unwrap().unwrap();
        assert_eq!((token.expose_secret(), token.generation()), ("t1", 1));
    }
    assert_eq!(control.calls(), 1);
}

#[tokio::test]
async fn a02_a_failed_flight_is_shared_and_cools() {
    let (cache, control) = cache();
    let callers: Vec<_> = (0..50).map(|_| tokio::spawn(cache.token())).collect();
    let fetching = control.asked().await;
    settle().await;
    fetching.answer(Err(SourceError::refused("the endpoint refused `ci-bot`")));
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert!(error.is_refused());
        assert_eq!(
            chain(&error),
            "no token: its source refused the credentials (next try in 10 s): \
             the endpoint refused `ci-bot`"
        );
    }
    assert!(!cache.is_ready());
    // While it cools the shared error is there at once, with the time that is left.
    control.advance(4.0);
    let error = cache.token().await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(6)));
    assert_eq!(control.calls(), 1);
    // Then the next request begins a new flight.
    control.advance(6.0);
    assert_eq!(control.fill(&cache, "t1").await.expose_secret(), "t1");
    assert_eq!(control.calls(), 2);
    assert!(cache.is_ready());
}

#[tokio::test]
async fn a03_the_flight_outlives_the_caller_that_began_it() {
    let (cache, control) = cache();
    let mut leader = task::spawn(cache.token());
    assert_pending!(leader.poll());
    let mut follower = task::spawn(cache.token());
    assert_pending!(follower.poll());
    let fetching = control.asked().await;
    drop(leader);
    fetching.token("t1");
    settle().await;
    assert!(follower.is_woken());
    assert_eq!(
        assert_ready!(follower.poll()).unwrap().expose_secret(),
        "t1"
    );
    assert_eq!(control.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a04_a_waiter_leaves_at_its_own_deadline() {
    let (cache, control) = cache();
    let hurried = tokio::spawn(tokio::time::timeout(
        Duration::from_millis(100),
        cache.token(),
    ));
    let patient = tokio::spawn(cache.token());
    let fetching = control.asked().await;
    assert!(hurried.await.unwrap().is_err());
    fetching.token("t1");
    assert_eq!(patient.await.unwrap().unwrap().expose_secret(), "t1");
    assert_eq!(control.calls(), 1);
}

#[tokio::test]
async fn a08_a_waiter_that_is_woken_sees_the_result() {
    let (cache, control) = cache();
    let mut callers: Vec<_> = (0..100).map(|_| task::spawn(cache.token())).collect();
    for caller in &mut callers {
        assert_pending!(caller.poll());
    }
    // Some leave, and others take their places.
    for _ in 0..50 {
        drop(callers.remove(7));
        let mut caller = task::spawn(cache.token());
        assert_pending!(caller.poll());
        callers.push(caller);
    }
    control.asked().await.token("t1");
    settle().await;
    for caller in &mut callers {
        assert!(caller.is_woken());
        assert!(assert_ready!(caller.poll()).is_ok());
    }
}

#[tokio::test]
async fn a05_a_flight_that_all_have_left_still_fills_the_cell() {
    let (cache, control) = cache();
    let mut callers: Vec<_> = (0..10).map(|_| task::spawn(cache.token())).collect();
    for caller in &mut callers {
        assert_pending!(caller.poll());
    }
    let fetching = control.asked().await;
    drop(callers);
    assert_eq!(
        control.clock.sleepers(),
        2,
        "the flight's own two timers are all that is left"
    );
    fetching.token("t1");
    settle().await;
    assert_eq!(control.clock.sleepers(), 0);
    assert_eq!(cache.peek().unwrap().expose_secret(), "t1");
    assert_eq!(cache.token().await.unwrap().expose_secret(), "t1");
    assert_eq!(control.calls(), 1);
}

#[tokio::test]
async fn a06_a_panicking_source_is_one_failed_flight() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let clock = tower_bearer::clock::ManualClock::new();
    let cache = TokenCache::builder(source_fn(move |_| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::task::yield_now().await;
            assert!(call != 0, "a bug in the source");
            Ok(Token::new("t2")?)
        }
    }))
    .clock(clock.clone())
    .build();
    let callers: Vec<_> = (0..20).map(|_| tokio::spawn(cache.token())).collect();
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert_eq!(*error.kind(), Kind::Panicked);
        assert!(error.retry_after().is_some());
    }
    assert_eq!(cache.status().phase, Phase::Cooling);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.token().await.unwrap().expose_secret(), "t2");
}

#[tokio::test]
async fn a06_garbage_from_the_source_is_one_failed_flight() {
    let (cache, control) = cache();
    let caller = tokio::spawn(cache.token());
    let garbage = Token::new("line\nbreak").map_err(SourceError::from);
    control.asked().await.answer(garbage);
    let error = caller.await.unwrap().unwrap_err();
    assert_eq!(*error.kind(), Kind::Malformed);
    assert!(
        chain(&error).contains("may not stand in a header (at byte 4)"),
        "{}",
        chain(&error)
    );
    control.advance(60.0);
    control.fill(&cache, "t1").await;
    assert_eq!(control.calls(), 2);
}

#[tokio::test]
async fn a07_a_fetch_that_never_returns_is_ended_by_its_own_time_out() {
    let (builder, control) = scripted();
    let cache = builder.attempts(1).build();
    let callers: Vec<_> = (0..5).map(|_| tokio::spawn(cache.token())).collect();
    let hanging = control.asked().await;
    settle().await;
    control.advance(9.9);
    settle().await;
    assert!(callers.iter().all(|caller| !caller.is_finished()));
    control.advance(0.2);
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert!(error.is_timeout() && error.is_transient());
        assert!(
            chain(&error).ends_with(
                "the token source did not answer within 10 s: check that it is up and in reach"
            ),
            "{}",
            chain(&error)
        );
    }
    drop(hanging);
}

#[tokio::test]
async fn a_transient_failure_at_the_start_is_tried_again_within_the_flight() {
    let (cache, control) = cache();
    let caller = tokio::spawn(cache.token());
    for attempt in 1..=2 {
        let fetching = control.asked().await;
        assert_eq!(fetching.cx.attempt(), attempt);
        fetching.answer(Err(SourceError::transient("down")));
        settle().await;
        // Full jitter from 200 ms, doubling.
        control.advance(0.4);
    }
    let fetching = control.asked().await;
    assert_eq!(fetching.cx.attempt(), 3);
    fetching.token("t1");
    assert_eq!(caller.await.unwrap().unwrap().expose_secret(), "t1");
    assert_eq!(cache.status().counts.fetches, 3);
    assert_eq!(cache.status().counts.failed_flights, 0);
}

#[tokio::test]
async fn a09_a_hundred_clones_share_one_flight() {
    let (cache, control) = cache();
    let clones: Vec<TokenCache> = (0..100).map(|_| cache.clone()).collect();
    let callers: Vec<_> = clones
        .iter()
        .map(|clone| tokio::spawn(clone.token()))
        .collect();
    control.asked().await.token("t1");
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().generation(), 1);
    }
    assert!(clones.iter().all(|clone| clone.peek().is_some()));
    assert_eq!(control.calls(), 1);
}

#[tokio::test]
async fn a10_a_refusal_is_shared_although_its_leader_left() {
    let (cache, control) = cache();
    let mut leader = task::spawn(cache.token());
    assert_pending!(leader.poll());
    let follower = tokio::spawn(cache.token());
    let fetching = control.asked().await;
    settle().await;
    fetching.answer(Err(SourceError::refused("invalid_client")));
    drop(leader);
    assert!(follower.await.unwrap().unwrap_err().is_refused());
    assert_eq!(control.calls(), 1);
}

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
    assert_eq!(cache.status().phase, Phase::Flying);
    let second = current();
    second.block_on(async {
        let mut follower = task::spawn(cache.token());
        assert_pending!(follower.poll());
        drop(hanging);
        first.shutdown_background();
        assert!(
            follower.is_woken(),
            "the lost flight wakes who waits for it"
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
fn a14_a_flight_on_a_parked_runtime_is_replaced_after_its_total_time_out() {
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

#[test]
fn a14_a_runtime_without_a_timer_is_a_typed_error() {
    let cache = TokenCache::new(source_fn(|_| async { Ok(Token::new("t1")?) }));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let error = runtime.block_on(cache.token()).unwrap_err();
    assert_eq!(*error.kind(), Kind::NoRuntime);
}

#[tokio::test]
async fn f01_dropping_the_last_handle_ends_the_flight() {
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

#[tokio::test]
async fn f11_two_caches_never_share_a_token() {
    let tenants: Vec<_> = ["a", "b"]
        .map(|tenant| (tenant, cache()))
        .into_iter()
        .collect();
    for (tenant, (cache, control)) in &tenants {
        control.fill(cache, tenant).await;
    }
    for _ in 0..1000 {
        for (tenant, (cache, _)) in &tenants {
            assert_eq!(cache.token().await.unwrap().expose_secret(), *tenant);
        }
    }
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

#[tokio::test]
async fn settings_at_the_ends_of_the_range_make_no_panic() {
    let (builder, control) = scripted();
    let cache = builder
        .flight_timeout(Duration::MAX)
        .attempt_timeout(Duration::MAX)
        .renewal_window(Duration::MAX)
        .hard_margin(Duration::MAX)
        .default_lifetime(Duration::MAX)
        .attempts(u32::MAX)
        .build();
    assert_eq!(control.fill(&cache, "t1").await.expose_secret(), "t1");
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

/// A waker whose drop, or wake, is other people's code.
struct Odd {
    cache: TokenCache,
    panics: bool,
}

impl std::task::Wake for Odd {
    fn wake(self: Arc<Self>) {
        assert!(!self.panics, "a bug in an executor");
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        // It would wait for ever if a lock of the cache's were held.
        assert!(self.cache.peek().is_none() || !self.cache.status().suspect);
        let mut caller = task::spawn(self.cache.token());
        drop(caller.poll());
    }
}

#[tokio::test]
async fn a08_wakers_run_outside_the_locks_and_do_not_harm_each_other() {
    use std::{future::Future, pin::pin, task::Context};

    let (cache, control) = cache();
    let odd = |panics| {
        std::task::Waker::from(Arc::new(Odd {
            cache: cache.clone(),
            panics,
        }))
    };
    let mut first = pin!(cache.token());
    assert_pending!(first.as_mut().poll(&mut Context::from_waker(&odd(false))));
    // It replaces the one before, whose drop looks at the cache.
    assert_pending!(first.as_mut().poll(&mut Context::from_waker(&odd(true))));
    let mut second = task::spawn(cache.token());
    assert_pending!(second.poll());
    control.asked().await.token("t1");
    settle().await;
    assert!(second.is_woken(), "although the waker before it panicked");
    assert!(assert_ready!(second.poll()).is_ok());
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
