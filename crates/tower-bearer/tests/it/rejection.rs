//! What a rejection costs, at the cache itself.

use std::time::Duration;

use tokio_test::{assert_pending, assert_ready, task};
use tower_bearer::{Kind, Phase, Reason, SourceError};

use crate::support::{cache, settle};

#[tokio::test]
async fn d02_a_hundred_rejections_of_one_token_cost_one_fetch() {
    let (cache, control) = cache();
    let t1 = control.fill(&cache, "t1").await;
    let rejecters: Vec<_> = (0..100).map(|_| tokio::spawn(cache.reject(&t1))).collect();
    let fetching = control.asked().await;
    assert_eq!(fetching.cx.reason(), Reason::Rejected);
    fetching.token("t2");
    for rejecter in rejecters {
        assert_eq!(rejecter.await.unwrap().unwrap().expose_secret(), "t2");
    }
    assert_eq!(control.calls(), 2);
    assert_eq!(cache.status().counts.rejections, 1);
}

#[tokio::test]
async fn d03_a_late_rejection_of_an_older_token_costs_nothing() {
    let (cache, control) = cache();
    let t1 = control.fill(&cache, "t1").await;
    let refreshed = tokio::spawn(cache.reject(&t1));
    control.asked().await.token("t2");
    refreshed.await.unwrap().unwrap();
    let mut late = task::spawn(cache.reject(&t1));
    assert_eq!(assert_ready!(late.poll()).unwrap().expose_secret(), "t2");
    assert_eq!(cache.token().await.unwrap().expose_secret(), "t2");
    assert!(!cache.status().rejected);
    assert_eq!(control.calls(), 2);
}

#[tokio::test]
async fn d04_a_rejection_joins_the_refresh_under_way() {
    let (cache, control) = cache();
    let t1 = control.fill(&cache, "t1").await;
    control.advance(2971.0);
    cache.token().await.unwrap();
    let ahead = control.asked().await;
    let rejecter = tokio::spawn(cache.reject(&t1));
    settle().await;
    ahead.token("t2");
    assert_eq!(rejecter.await.unwrap().unwrap().expose_secret(), "t2");
    assert_eq!(control.calls(), 2);
}

#[tokio::test]
async fn d05_a_refresh_that_brings_the_token_rejected_meanwhile_asks_once_more() {
    let (cache, control) = cache();
    let t1 = control.fill(&cache, "t1").await;
    control.advance(2971.0);
    cache.token().await.unwrap();
    let ahead = control.asked().await;
    let rejecter = tokio::spawn(cache.reject(&t1));
    settle().await;
    ahead.token("t1");
    control.asked().await.token("t2");
    assert_eq!(rejecter.await.unwrap().unwrap().expose_secret(), "t2");
    assert_eq!(control.calls(), 3);
}

#[tokio::test]
async fn d24_a_source_that_hands_out_the_rejected_token_is_a_typed_outcome() {
    let (cache, control) = cache();
    let t1 = control.fill(&cache, "t1").await;
    let rejecter = tokio::spawn(cache.reject(&t1));
    control.asked().await.token("t1");
    let error = rejecter.await.unwrap().unwrap_err();
    assert_eq!(*error.kind(), Kind::Malformed);
    assert!(
        format!("{error:#}").contains("the token source gave the token again that was rejected"),
        "{}",
        format!("{error:#}")
    );
    settle().await;
    assert_eq!(control.calls(), 2);
    assert_eq!(cache.status().phase, Phase::Backoff);
}

#[tokio::test]
async fn d27_one_spurious_rejection_during_an_outage_stops_nobody_else() {
    let (cache, control) = cache();
    let t1 = control.fill(&cache, "t1").await;
    let rejecter = tokio::spawn(cache.reject(&t1));
    let fetching = control.asked().await;
    // Others wait for the first replacement, two seconds at most.
    let mut other = task::spawn(cache.token());
    assert_pending!(other.poll());
    control.advance(2.0);
    assert!(other.is_woken());
    assert_eq!(assert_ready!(other.poll()).unwrap().expose_secret(), "t1");
    fetching.answer(Err(SourceError::transient("down")));
    assert!(rejecter.await.unwrap().is_err());
    // During backoff they are served the rejected token at once; the caller that saw it rejected is not.
    let mut other = task::spawn(cache.token());
    assert_eq!(assert_ready!(other.poll()).unwrap().expose_secret(), "t1");
    let mut again = task::spawn(cache.reject(&t1));
    assert!(assert_ready!(again.poll()).is_err());
    assert!(cache.is_ready() && cache.status().rejected);
    // Later tries run behind.
    control.advance(60.0);
    let mut other = task::spawn(cache.token());
    assert_eq!(assert_ready!(other.poll()).unwrap().expose_secret(), "t1");
    control.asked().await.token("t2");
    settle().await;
    assert_eq!(cache.token().await.unwrap().expose_secret(), "t2");
    assert_eq!(control.calls(), 3);
}

#[tokio::test]
async fn d28_rejections_are_refreshed_as_far_as_the_bucket_reaches() {
    let (cache, control) = cache();
    let mut current = control.fill(&cache, "t1").await;
    for secret in ["t2", "t3"] {
        let rejecter = tokio::spawn(cache.reject(&current));
        control.asked().await.token(secret);
        current = rejecter.await.unwrap().unwrap();
    }
    let error = cache.reject(&current).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::Limited);
    // Two replacements were rejected too, and no server had accepted either.
    assert_eq!(error.retry_after(), Some(Duration::from_secs(20)));
    assert_eq!(
        cache.token().await.unwrap().expose_secret(),
        "t3",
        "others are served the rejected token"
    );
    control.advance(20.0);
    let rejecter = tokio::spawn(cache.reject(&current));
    control.asked().await.token("t4");
    assert_eq!(rejecter.await.unwrap().unwrap().expose_secret(), "t4");
}

#[tokio::test]
async fn a_dropped_rejection_still_refreshes() {
    let (cache, control) = cache();
    let t1 = control.fill(&cache, "t1").await;
    drop(cache.reject(&t1));
    control.asked().await.token("t2");
    settle().await;
    assert_eq!(cache.peek().unwrap().expose_secret(), "t2");
}

#[tokio::test]
async fn f13_a_refresh_that_is_due_and_a_rejection_at_one_instant_are_one_refresh() {
    let (cache, control) = cache();
    let t1 = control.fill(&cache, "t1").await;
    control.advance(2971.0);
    let mut ahead = task::spawn(cache.token());
    assert_ready!(ahead.poll()).unwrap();
    let mut rejecter = task::spawn(cache.reject(&t1));
    assert_pending!(rejecter.poll());
    control.asked().await.token("t2");
    settle().await;
    assert_eq!(
        assert_ready!(rejecter.poll()).unwrap().expose_secret(),
        "t2"
    );
    assert_eq!(control.calls(), 2);
}

#[tokio::test]
async fn f11_a_rejection_of_another_caches_token_changes_nothing() {
    let (ours, control) = cache();
    let (theirs, their_control) = cache();
    control.fill(&ours, "ours").await;
    let foreign = their_control.fill(&theirs, "theirs").await;
    assert_eq!(ours.reject(&foreign).await.unwrap().expose_secret(), "ours");
    assert!(!ours.status().rejected);
    assert_eq!(control.calls(), 1);
}

#[tokio::test]
async fn d24_rejected_tokens_are_not_handed_out_in_turns() {
    let (cache, control) = cache();
    let t1 = control.fill(&cache, "t1").await;
    let rejecter = tokio::spawn(cache.reject(&t1));
    control.asked().await.token("t2");
    let t2 = rejecter.await.unwrap().unwrap();
    let rejecter = tokio::spawn(cache.reject(&t2));
    control.asked().await.token("t1");
    let error = rejecter.await.unwrap().unwrap_err();
    assert!(
        format!("{error:#}").contains("the token again that was rejected"),
        "{}",
        format!("{error:#}")
    );
}

#[tokio::test]
async fn d07_rejections_without_a_retry_are_limited_as_well() {
    let (cache, control) = cache();
    control.answer_all();
    let mut token = cache.token().await.unwrap();
    for _ in 0..3600 {
        if let Ok(next) = cache.reject(&token).await {
            token = next;
        }
        control.advance(1.0);
    }
    assert!((10..=18).contains(&control.calls()), "{}", control.calls());
}

#[tokio::test]
async fn a_forced_refresh_replaces_a_rejected_token_whatever_the_limiter_says() {
    let (cache, control) = cache();
    control.answer_all();
    let mut token = cache.token().await.unwrap();
    while let Ok(next) = cache.reject(&token).await {
        token = next;
    }
    let calls = control.calls();
    assert_ne!(
        cache.refresh().await.unwrap().generation(),
        token.generation()
    );
    assert_eq!(control.calls(), calls + 1);
}
