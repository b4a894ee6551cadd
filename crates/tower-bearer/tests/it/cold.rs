//! Cold start and concurrency.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio_test::{assert_pending, assert_ready, task};
use tower_bearer::{Kind, Phase, Reason, SourceError, Token, TokenCache, source_fn};

use crate::support::{cache, scripted, settle};

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
async fn a02_a_failed_refresh_is_shared_and_backs_off() {
    let (cache, control) = cache();
    let callers: Vec<_> = (0..50).map(|_| tokio::spawn(cache.token())).collect();
    let fetching = control.asked().await;
    settle().await;
    let refused = SourceError::invalid_credentials("the endpoint refused `ci-bot`");
    fetching.answer(Err(refused.with_advice("check the secret")));
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert!(error.is_invalid_credentials());
        assert_eq!(
            error.to_string(),
            "the endpoint refused `ci-bot`: check the secret (next attempt in 10 s)"
        );
    }
    assert!(!cache.is_ready());
    // During backoff the shared error is there at once, with the time that is left.
    control.advance(4.0);
    let error = cache.token().await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(6)));
    assert_eq!(control.calls(), 1);
    // Then the next request begins a new refresh.
    control.advance(6.0);
    assert_eq!(control.fill(&cache, "t1").await.expose_secret(), "t1");
    assert_eq!(control.calls(), 2);
    assert!(cache.is_ready());
}

#[tokio::test]
async fn a03_the_refresh_outlives_the_caller_that_began_it() {
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
    // Some leave, and others enter.
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
async fn a05_a_refresh_that_all_have_left_still_fills_the_cell() {
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
        "only the two timers of the refresh are left"
    );
    fetching.token("t1");
    settle().await;
    assert_eq!(control.clock.sleepers(), 0);
    assert_eq!(cache.peek().unwrap().expose_secret(), "t1");
    assert_eq!(cache.token().await.unwrap().expose_secret(), "t1");
    assert_eq!(control.calls(), 1);
}

#[tokio::test]
async fn a06_a_panicking_source_is_one_failed_refresh() {
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
    assert_eq!(cache.status().phase, Phase::Backoff);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.token().await.unwrap().expose_secret(), "t2");
}

#[tokio::test]
async fn a06_garbage_from_the_source_is_one_failed_refresh() {
    let (cache, control) = cache();
    let caller = tokio::spawn(cache.token());
    let garbage = Token::new("line\nbreak").map_err(SourceError::from);
    control.asked().await.answer(garbage);
    let error = caller.await.unwrap().unwrap_err();
    assert_eq!(*error.kind(), Kind::Malformed);
    assert!(
        format!("{error:#}").contains("may not stand in a header (at byte 4)"),
        "{}",
        format!("{error:#}")
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
            error.to_string().starts_with(
                "the token source did not answer within 10 s: check that it is up and in reach"
            ),
            "{error}"
        );
    }
    drop(hanging);
}

#[tokio::test]
async fn a_transient_failure_at_the_start_is_tried_again_within_the_refresh() {
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
    assert_eq!(cache.status().counts.failed_refreshes, 0);
}

#[tokio::test]
async fn a08_a_waiter_that_is_polled_late_gets_what_is_current_then() {
    let (cache, control) = cache();
    // Its refresh succeeded, and the token was rejected and replaced before it looked.
    let mut late = task::spawn(cache.token());
    assert_pending!(late.poll());
    let t1 = control.fill(&cache, "t1").await;
    let rejecter = tokio::spawn(cache.reject(&t1));
    control.asked().await.token("t2");
    rejecter.await.unwrap().unwrap();
    assert_eq!(assert_ready!(late.poll()).unwrap().expose_secret(), "t2");

    // Its refresh failed, and a later one succeeded before it looked.
    control.advance(3600.0);
    let mut late = task::spawn(cache.token());
    assert_pending!(late.poll());
    let refused = SourceError::invalid_credentials("no");
    control.asked().await.answer(Err(refused));
    settle().await;
    control.advance(10.0);
    control.fill(&cache, "t3").await;
    assert_eq!(assert_ready!(late.poll()).unwrap().expose_secret(), "t3");
    assert_eq!(control.calls(), 4);
}

#[tokio::test]
async fn a02_a_waiter_that_is_polled_after_the_backoff_still_shares_the_error() {
    let (cache, control) = cache();
    let mut late = task::spawn(cache.token());
    assert_pending!(late.poll());
    let refused = SourceError::invalid_credentials("no");
    control.asked().await.answer(Err(refused));
    settle().await;
    control.advance(60.0);
    let error = assert_ready!(late.poll()).unwrap_err();
    assert!(error.is_invalid_credentials());
    settle().await;
    assert_eq!(control.calls(), 1, "it begins no other refresh");
}

#[tokio::test]
async fn g33_a_forced_refresh_that_is_polled_late_is_not_forced_again() {
    let (cache, control) = cache();
    control.fill(&cache, "t1").await;
    control.advance(10.0);
    let mut forced = task::spawn(cache.refresh());
    assert_pending!(forced.poll());
    control.asked().await.token("t2");
    settle().await;
    control.advance(10.0);
    assert_eq!(assert_ready!(forced.poll()).unwrap().expose_secret(), "t2");
    assert_eq!(control.calls(), 2);
}

#[tokio::test]
async fn a09_a_hundred_clones_share_one_refresh() {
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
async fn a10_invalid_credentials_are_shared_although_the_leader_left() {
    let (cache, control) = cache();
    let mut leader = task::spawn(cache.token());
    assert_pending!(leader.poll());
    let follower = tokio::spawn(cache.token());
    let fetching = control.asked().await;
    settle().await;
    fetching.answer(Err(SourceError::invalid_credentials("invalid_client")));
    drop(leader);
    assert!(
        follower
            .await
            .unwrap()
            .unwrap_err()
            .is_invalid_credentials()
    );
    assert_eq!(control.calls(), 1);
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

#[tokio::test]
async fn settings_at_the_ends_of_the_range_make_no_panic() {
    let (builder, control) = scripted();
    let cache = builder
        .refresh_timeout(Duration::MAX)
        .attempt_timeout(Duration::MAX)
        .refresh_window(Duration::MAX)
        .leeway(Duration::MAX)
        .default_lifetime(Duration::MAX)
        .attempts(u32::MAX)
        .build();
    assert_eq!(control.fill(&cache, "t1").await.expose_secret(), "t1");
}

/// A waker whose drop and wake are foreign code.
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
        // It would wait for ever if the cache held a lock here.
        assert!(self.cache.peek().is_none() || !self.cache.status().rejected);
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
    // It replaces the first waker, whose drop looks at the cache.
    assert_pending!(first.as_mut().poll(&mut Context::from_waker(&odd(true))));
    let mut second = task::spawn(cache.token());
    assert_pending!(second.poll());
    control.asked().await.token("t1");
    settle().await;
    assert!(second.is_woken(), "although the first waker panicked");
    assert!(assert_ready!(second.poll()).is_ok());
}
