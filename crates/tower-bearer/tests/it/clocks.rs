//! Clocks that stop, jump and disagree, and secrets that change.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio_test::{assert_pending, assert_ready, task};
use tower_bearer::{Phase, SourceError, Token, TokenCache, clock::Clock, source_fn};

use crate::support::{cache, settle, token};

#[tokio::test]
async fn b12_the_lifetime_counts_from_when_the_request_was_sent() {
    let (builder, control) = crate::support::scripted();
    let cache = builder
        .attempt_timeout(Duration::from_secs(100))
        .refresh_timeout(Duration::from_secs(100))
        .build();
    let caller = tokio::spawn(cache.token());
    let fetching = control.asked().await;
    control.advance(90.0);
    fetching.answer(Ok(Token::new("t1")
        .unwrap()
        .expires_in(Duration::from_secs(120))));
    caller.await.unwrap().unwrap();
    // 120 s less the leeway of 12 s less the 90 s that the answer took.
    assert_eq!(cache.status().expires_in, Some(Duration::from_secs(18)));
}

#[tokio::test]
async fn c01_after_a_machine_slept_the_first_request_refreshes() {
    let (cache, control) = cache();
    control.fill(&cache, "t1").await;
    control.clock.suspend(Duration::from_secs(7200));
    let mut caller = task::spawn(cache.token());
    assert_pending!(caller.poll());
    control.asked().await.token("t2");
    settle().await;
    assert_eq!(assert_ready!(caller.poll()).unwrap().expose_secret(), "t2");
}

#[tokio::test]
async fn c02_a_wall_clock_that_is_set_back_does_not_prolong_a_token() {
    let (cache, control) = cache();
    control.fill(&cache, "t1").await;
    control.clock.set_wall(std::time::UNIX_EPOCH);
    control.advance(3570.0);
    assert!(cache.peek().is_none());
}

#[tokio::test]
async fn c03_a_wall_clock_that_is_set_forward_costs_one_refresh() {
    let (cache, control) = cache();
    control.fill(&cache, "t1").await;
    control.clock.suspend(Duration::from_secs(3000));
    assert_eq!(cache.token().await.unwrap().expose_secret(), "t1");
    control.asked().await.token("t2");
    settle().await;
    for _ in 0..100 {
        assert_eq!(cache.token().await.unwrap().expose_secret(), "t2");
    }
    settle().await;
    assert_eq!(control.calls(), 2);
}

#[tokio::test]
async fn e03_a_changed_secret_clears_invalid_credentials_at_once() {
    let (cache, control) = cache();
    let caller = tokio::spawn(cache.token());
    control
        .asked()
        .await
        .answer(Err(SourceError::invalid_credentials("invalid_client")));
    caller.await.unwrap().unwrap_err();
    for _ in 0..100 {
        assert!(cache.token().await.unwrap_err().is_invalid_credentials());
    }
    assert_eq!(control.calls(), 1);
    control.change_secret();
    control.fill(&cache, "t1").await;
    assert_eq!(control.calls(), 2);
}

#[tokio::test]
async fn e10_a_result_of_an_old_secret_is_neither_published_nor_returned() {
    let (cache, control) = cache();
    let caller = tokio::spawn(cache.token());
    let old = control.asked().await;
    control.change_secret();
    old.token("of-the-old-secret");
    control.asked().await.token("t1");
    assert_eq!(caller.await.unwrap().unwrap().expose_secret(), "t1");
    assert_eq!(cache.peek().unwrap().expose_secret(), "t1");
    assert_eq!(control.calls(), 2);
}

#[tokio::test]
async fn e10_a_changed_secret_replaces_a_refresh_that_hangs() {
    let (cache, control) = cache();
    let first = tokio::spawn(cache.token());
    let hanging = control.asked().await;
    control.change_secret();
    let second = tokio::spawn(cache.token());
    control.asked().await.token("t1");
    assert_eq!(second.await.unwrap().unwrap().expose_secret(), "t1");
    assert_eq!(first.await.unwrap().unwrap().expose_secret(), "t1");
    hanging.token("too-late");
    settle().await;
    assert_eq!(cache.peek().unwrap().expose_secret(), "t1");
}

#[tokio::test]
async fn e11_a_secret_that_changes_during_each_fetch_ends_in_an_error_that_says_so() {
    let (cache, control) = cache();
    let caller = tokio::spawn(cache.token());
    for turn in 1..=3 {
        let fetching = control.asked().await;
        control.change_secret();
        fetching.token(&format!("t{turn}"));
    }
    let error = caller.await.unwrap().unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("changed its secret during each of the last 3 fetches"),
        "{text}"
    );
    assert_eq!(cache.status().phase, Phase::Backoff);
    assert!(cache.token().await.is_err());
    assert_eq!(control.calls(), 3);
}

#[tokio::test]
async fn a_late_result_of_a_refresh_that_was_given_up_is_not_published() {
    let (builder, control) = crate::support::scripted();
    let cache = builder.attempt_timeout(Duration::from_secs(3600)).build();
    let mut caller = task::spawn(cache.token());
    assert_pending!(caller.poll());
    let old = control.asked().await;
    control.change_secret();
    assert_pending!(caller.poll());
    let mut other = task::spawn(cache.token());
    assert_pending!(other.poll());
    let new = control.asked().await;
    assert!(
        !old.is_awaited(),
        "the refresh that was given up does not call the source again"
    );
    new.token("t2");
    old.token("t1");
    settle().await;
    assert_eq!(cache.peek().unwrap().expose_secret(), "t2");
}

#[tokio::test]
async fn a_refresh_that_was_given_up_makes_no_further_attempt() {
    let (cache, control) = cache();
    let mut caller = task::spawn(cache.token());
    assert_pending!(caller.poll());
    let first = control.asked().await;
    first.answer(Err(SourceError::transient("down")));
    settle().await;
    // It pauses before its second attempt. The secret changes, and another refresh takes its place.
    control.change_secret();
    let mut other = task::spawn(cache.token());
    assert_pending!(other.poll());
    let second = control.asked().await;
    for _ in 0..20 {
        control.advance(0.2);
        settle().await;
    }
    assert_eq!(control.calls(), 2, "the first goes on");
    second.token("t1");
    settle().await;
    assert_eq!(assert_ready!(caller.poll()).unwrap().expose_secret(), "t1");
}

/// The system's clock, whose sleeps are counted.
#[derive(Debug)]
struct Counted(tower_bearer::clock::TokioClock, Arc<AtomicUsize>);

impl Clock for Counted {
    fn now(&self) -> tower_bearer::clock::Reading {
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> tower_bearer::clock::Sleep {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.sleep(duration)
    }
}

#[tokio::test(start_paused = true)]
async fn g30_clocks_that_disagree_make_no_busy_loop() {
    // Tokio's time is paused and jumps; the wall clock stands still, more or less.
    let sleeps = Arc::new(AtomicUsize::new(0));
    let clock = Counted(tower_bearer::clock::TokioClock::new(), sleeps.clone());
    let turns = AtomicUsize::new(0);
    let source = source_fn(move |_| {
        let turn = turns.fetch_add(1, Ordering::SeqCst);
        async move { Ok(token(&format!("t{turn}"))) }
    });
    let cache = TokenCache::builder(source).clock(clock).seed(7).build();
    cache.keep_warm();
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    let fetches = cache.status().counts.fetches;
    assert!((29..=34).contains(&fetches), "{fetches}");
    // A look each 30 s, and a few for each refresh.
    let sleeps = sleeps.load(Ordering::SeqCst);
    assert!((2880..=3300).contains(&sleeps), "{sleeps}");
}
