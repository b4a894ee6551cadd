//! Expiry, renewal ahead, and clocks.

use std::time::Duration;

use tokio_test::{assert_pending, assert_ready, task};
use tower_bearer::{Phase, Reason, SourceError, Token};

use crate::support::{Control, cache, settle, token};

/// An hour's token is due between 2670 s and 2970 s, and hard expired at 3570 s.
const DUE: f64 = 2971.0;

#[tokio::test]
async fn b01_in_the_window_nobody_waits() {
    let (cache, control) = cache();
    control.fill(&cache, "t1").await;
    control.advance(DUE);
    for _ in 0..100 {
        let mut caller = task::spawn(cache.token());
        assert_eq!(assert_ready!(caller.poll()).unwrap().expose_secret(), "t1");
    }
    let slow = control.asked().await;
    assert_eq!(slow.cx.reason(), Reason::Ahead);
    control.advance(5.0);
    assert_eq!(cache.token().await.unwrap().expose_secret(), "t1");
    slow.token("t2");
    settle().await;
    assert_eq!(cache.token().await.unwrap().expose_secret(), "t2");
    assert_eq!(control.calls(), 2);
    assert_eq!(cache.status().counts.renewals.of(Reason::Ahead), 1);
    assert_eq!(
        cache.status().counts.waits,
        1,
        "only the first caller of all waited"
    );
}

#[tokio::test]
async fn b02_an_outage_within_the_window_is_not_noticed() {
    let (cache, control) = cache();
    control.fill(&cache, "t1").await;
    control.advance(DUE);
    // 390 s of requests, ten a second, while the source is down.
    for _ in 0..3900 {
        assert_eq!(cache.token().await.unwrap().expose_secret(), "t1");
        settle().await;
        if cache.status().phase == Phase::Flying {
            control
                .asked()
                .await
                .answer(Err(SourceError::transient("down")));
            settle().await;
        }
        control.advance(0.1);
    }
    let tries = control.calls() - 1;
    assert!(
        (7..80).contains(&tries),
        "{tries} tries follow the back-off"
    );
    assert!(cache.is_ready());
    // Back a third of the window before hard expiry: the next try heals.
    loop {
        assert_eq!(cache.token().await.unwrap().expose_secret(), "t1");
        settle().await;
        if cache.status().phase == Phase::Flying {
            break;
        }
        control.advance(1.0);
    }
    control.asked().await.token("t2");
    settle().await;
    assert_eq!(cache.token().await.unwrap().expose_secret(), "t2");
}

#[tokio::test]
async fn b03_past_hard_expiry_requests_fail_fast_until_one_heals() {
    let (cache, control) = cache();
    control.fill(&cache, "t1").await;
    control.advance(3570.0);
    assert!(cache.peek().is_none(), "an expired token is not handed out");
    let caller = tokio::spawn(cache.token());
    for _ in 0..3 {
        control.advance(0.8);
        control
            .asked()
            .await
            .answer(Err(SourceError::transient("down")));
        settle().await;
    }
    assert!(caller.await.unwrap().unwrap_err().is_transient());
    let mut next = task::spawn(cache.token());
    assert!(
        assert_ready!(next.poll()).is_err(),
        "while it cools nobody waits"
    );
    assert!(!cache.is_ready());
    control.advance(1.0);
    assert_eq!(control.fill(&cache, "t2").await.expose_secret(), "t2");
}

#[tokio::test]
async fn b05_short_lifetimes_cost_at_most_two_fetches_each() {
    for lifetime in [10.0, 2.0, 1.0] {
        let (cache, control) = cache();
        let short = |control: &Control| {
            let secret = format!("t{}", control.calls());
            Ok(Token::new(secret)
                .unwrap()
                .expires_in(Duration::from_secs_f64(lifetime)))
        };
        let first = tokio::spawn(cache.token());
        control.asked().await.answer(short(&control));
        first.await.unwrap().unwrap();
        // Twenty lifetimes, two hundred requests in each.
        for _ in 0..4000 {
            let mut caller = task::spawn(cache.token());
            assert_ready!(caller.poll()).expect("nobody waits while requests keep coming");
            settle().await;
            if cache.status().phase == Phase::Flying {
                control.asked().await.answer(short(&control));
                settle().await;
            }
            control.advance(lifetime / 200.0);
        }
        let fetches = control.calls();
        assert!(
            (20..=40).contains(&fetches),
            "{lifetime} s: {fetches} fetches"
        );
    }
}

#[tokio::test]
async fn b06_the_same_token_again_backs_off() {
    let (cache, control) = cache();
    let until = |secs: u64| std::time::UNIX_EPOCH + Duration::from_secs(1_893_456_000 + secs);
    let same = || Token::new("t1").unwrap().expires_at(until(3600));
    let first = tokio::spawn(cache.token());
    control.asked().await.answer(Ok(same()));
    first.await.unwrap().unwrap();
    control.advance(DUE);
    cache.token().await.unwrap();
    control.asked().await.answer(Ok(same()));
    settle().await;
    assert_eq!(cache.status().phase, Phase::Cooling);
    for _ in 0..100 {
        assert_eq!(cache.token().await.unwrap().generation(), 1);
    }
    assert_eq!(control.calls(), 2);
}

#[tokio::test]
async fn b07_b08_a_worse_token_does_not_replace_a_good_one() {
    for (secs, what) in [(30, "expires no later"), (0, "has expired already")] {
        let (cache, control) = cache();
        control.fill(&cache, "t1").await;
        control.advance(DUE);
        cache.token().await.unwrap();
        let worse = Token::new("t2")
            .unwrap()
            .expires_in(Duration::from_secs(secs));
        control.asked().await.answer(Ok(worse));
        settle().await;
        assert_eq!(cache.token().await.unwrap().expose_secret(), "t1");
        let error = cache.status().last_error.unwrap();
        assert!(crate::support::chain(&error).contains(what), "{error:?}");
    }
}

#[tokio::test]
async fn b12_the_lifetime_counts_from_when_the_request_was_sent() {
    let (builder, control) = crate::support::scripted();
    let cache = builder
        .attempt_timeout(Duration::from_secs(100))
        .flight_timeout(Duration::from_secs(100))
        .build();
    let caller = tokio::spawn(cache.token());
    let fetching = control.asked().await;
    control.advance(90.0);
    fetching.answer(Ok(Token::new("t1")
        .unwrap()
        .expires_in(Duration::from_secs(120))));
    caller.await.unwrap().unwrap();
    // 120 s less the margin of 12 s less the 90 s that the answer took.
    assert_eq!(cache.status().expires_in, Some(Duration::from_secs(18)));
}

#[tokio::test]
async fn b14_idle_costs_nothing_and_ends_in_one_fetch() {
    let (cache, control) = cache();
    control.fill(&cache, "t1").await;
    for _ in 0..3 {
        control.advance(3600.0);
        settle().await;
    }
    assert_eq!(control.calls(), 1);
    let burst: Vec<_> = (0..100).map(|_| tokio::spawn(cache.token())).collect();
    let fetching = control.asked().await;
    assert_eq!(fetching.cx.reason(), Reason::Expired);
    fetching.token("t2");
    for caller in burst {
        assert_eq!(caller.await.unwrap().unwrap().expose_secret(), "t2");
    }
    assert_eq!(control.calls(), 2);
}

#[tokio::test]
async fn b16_b17_due_stays_due_and_a_seed_repeats_exactly() {
    let mut instants = Vec::new();
    for _ in 0..2 {
        let (cache, control) = cache();
        control.fill(&cache, "t1").await;
        let due = cache.status().renews_in.unwrap();
        assert!((2670..2970).contains(&due.as_secs()), "{due:?}");
        for _ in 0..10 {
            assert_eq!(cache.status().renews_in, Some(due));
        }
        instants.push(due);
    }
    assert_eq!(instants[0], instants[1]);
}

#[tokio::test]
async fn c01_after_a_machine_slept_the_first_request_renews() {
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
async fn c03_a_wall_clock_that_is_set_forward_costs_one_renewal() {
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
async fn e03_a_changed_secret_clears_a_refusal_at_once() {
    let (cache, control) = cache();
    let caller = tokio::spawn(cache.token());
    control
        .asked()
        .await
        .answer(Err(SourceError::refused("invalid_client")));
    caller.await.unwrap().unwrap_err();
    for _ in 0..100 {
        assert!(cache.token().await.unwrap_err().is_refused());
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
async fn e10_a_changed_secret_replaces_a_flight_that_hangs() {
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
async fn refresh_replaces_a_good_token_at_most_once_a_second() {
    let (cache, control) = cache();
    control.fill(&cache, "t1").await;
    assert_eq!(cache.refresh().await.unwrap().expose_secret(), "t1");
    assert_eq!(control.calls(), 1);
    control.advance(1.0);
    let forced = tokio::spawn(cache.refresh());
    let fetching = control.asked().await;
    assert_eq!(fetching.cx.reason(), Reason::Forced);
    assert_eq!(
        cache.token().await.unwrap().expose_secret(),
        "t1",
        "others go on meanwhile"
    );
    fetching.answer(Ok(Token::new("t2")
        .unwrap()
        .expires_in(Duration::from_secs(60))));
    assert_eq!(forced.await.unwrap().unwrap().expose_secret(), "t2");
    assert_eq!(cache.token().await.unwrap().expose_secret(), "t2");
}

#[tokio::test]
async fn status_tells_what_goes_on() {
    let (cache, control) = cache();
    let status = cache.status();
    assert_eq!((status.phase, status.generation), (Phase::Idle, None));
    assert!(cache.is_ready(), "never asked is ready");
    let caller = tokio::spawn(cache.token());
    let fetching = control.asked().await;
    assert_eq!(cache.status().phase, Phase::Flying);
    fetching.answer(Ok(token("t1")));
    caller.await.unwrap().unwrap();
    control.advance(570.0);
    let status = cache.status();
    assert_eq!((status.phase, status.generation), (Phase::Idle, Some(1)));
    assert_eq!(status.expires_in, Some(Duration::from_secs(3000)));
    assert!(!status.suspect);
}
