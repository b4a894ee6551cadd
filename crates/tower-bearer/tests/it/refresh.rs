//! Expiry, refresh ahead, and clocks.

use std::time::Duration;

use tokio_test::{assert_ready, task};
use tower_bearer::{Phase, Reason, SourceError, Token};

use crate::support::{Control, cache, settle, token};

/// A token of an hour is due between 2670 s and 2970 s, and usable until 3570 s.
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
    assert_eq!(cache.status().counts.refreshes.of(Reason::Ahead), 1);
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
        if cache.status().phase == Phase::Refreshing {
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
    // It is back a third of the window before the token stops being usable: the next try succeeds.
    loop {
        assert_eq!(cache.token().await.unwrap().expose_secret(), "t1");
        settle().await;
        if cache.status().phase == Phase::Refreshing {
            break;
        }
        control.advance(1.0);
    }
    control.asked().await.token("t2");
    settle().await;
    assert_eq!(cache.token().await.unwrap().expose_secret(), "t2");
}

#[tokio::test]
async fn b03_requests_with_an_expired_token_fail_fast_until_one_refresh_succeeds() {
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
        "during backoff nobody waits"
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
            if cache.status().phase == Phase::Refreshing {
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
    assert_eq!(cache.status().phase, Phase::Backoff);
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
        assert!(format!("{error:#}").contains(what), "{error:?}");
    }
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
async fn b16_due_stays_due() {
    let (cache, control) = cache();
    control.fill(&cache, "t1").await;
    let due = cache.status().due_in.unwrap();
    assert!((2670..2970).contains(&due.as_secs()), "{due:?}");
    for _ in 0..10 {
        assert_eq!(cache.status().due_in, Some(due));
    }
    control.clock.advance(due);
    for _ in 0..10 {
        assert_eq!(cache.status().due_in, Some(Duration::ZERO));
        cache.token().await.unwrap();
        control.advance(1.0);
    }
}

#[tokio::test]
async fn b17_a_seed_and_a_clock_repeat_exactly() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (cache, control) = cache();
        let mut instants = Vec::new();
        for _ in 0..20 {
            control.fill(&cache, &format!("t{}", control.calls())).await;
            instants.push(cache.status().due_in);
            control.advance(3570.0);
            let failing = tokio::spawn(cache.token());
            for _ in 0..3 {
                control.advance(0.8);
                let down = SourceError::transient("down");
                control.asked().await.answer(Err(down));
                settle().await;
            }
            instants.push(failing.await.unwrap().unwrap_err().retry_after());
            control.advance(1.0);
        }
        runs.push(instants);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn b15_a_fleet_spreads_over_the_jitter_window() {
    let mut dues = Vec::new();
    for seed in 0..1000 {
        let (builder, control) = crate::support::scripted();
        let cache = builder.seed(seed).build();
        control.fill(&cache, "t1").await;
        dues.push(cache.status().due_in.unwrap().as_secs_f64());
    }
    let mean = dues.iter().sum::<f64>() / 1000.0;
    // Uniform over 2670 s to 2970 s: the mean's standard deviation is 2.7 s.
    assert!((2806.0..2834.0).contains(&mean), "{mean}");
    for tenth in 0..10 {
        let from = 2670.0 + 30.0 * f64::from(tenth);
        let here = dues
            .iter()
            .filter(|due| (from..from + 30.0).contains(*due))
            .count();
        assert!(
            (60..=140).contains(&here),
            "{here} of 1000 from {from} s on"
        );
    }
}

#[tokio::test]
async fn b09_an_unknown_lifetime_is_five_minutes_and_counted() {
    let (cache, control) = cache();
    let caller = tokio::spawn(cache.token());
    control.asked().await.answer(Ok(Token::new("t1").unwrap()));
    let t1 = caller.await.unwrap().unwrap();
    assert_eq!(cache.status().expires_in, Some(Duration::from_secs(270)));
    assert_eq!(cache.status().counts.unknown_lifetimes, 1);
    let replaced = tokio::spawn(cache.reject(&t1));
    control.asked().await.token("t2");
    replaced.await.unwrap().unwrap();
    assert_eq!(cache.status().counts.unknown_lifetimes, 1);
}

#[tokio::test]
async fn e11_success_and_failure_in_turns_keep_to_the_documented_rate() {
    let (cache, control) = cache();
    control.fill(&cache, "t0").await;
    // Ten hours of a request each second; every other fetch fails.
    for _ in 0..36_000 {
        cache.token().await.unwrap();
        settle().await;
        if cache.status().phase == Phase::Refreshing {
            let fetching = control.asked().await;
            if control.calls() % 2 == 0 {
                fetching.answer(Err(SourceError::transient("down")));
            } else {
                fetching.token(&format!("t{}", control.calls()));
            }
            settle().await;
        }
        control.advance(1.0);
    }
    // Two fetches per refresh, and a refresh every 2670 s to 2970 s.
    let fetches = control.calls();
    assert!((24..=28).contains(&fetches), "{fetches}");
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
async fn status_shows_what_the_cache_does() {
    let (cache, control) = cache();
    let status = cache.status();
    assert_eq!((status.phase, status.generation), (Phase::Idle, None));
    assert!(cache.is_ready(), "an unused cache is ready");
    let caller = tokio::spawn(cache.token());
    let fetching = control.asked().await;
    assert_eq!(cache.status().phase, Phase::Refreshing);
    fetching.answer(Ok(token("t1")));
    caller.await.unwrap().unwrap();
    control.advance(570.0);
    let status = cache.status();
    assert_eq!((status.phase, status.generation), (Phase::Idle, Some(1)));
    assert_eq!(status.expires_in, Some(Duration::from_secs(3000)));
    assert!(!status.rejected);
}

#[tokio::test]
async fn b14_kept_warm_it_refreshes_while_idle_and_ends_with_the_last_handle() {
    let (cache, control) = cache();
    control.answer_all();
    cache.keep_warm();
    cache.keep_warm();
    settle().await;
    assert_eq!(
        cache.peek().unwrap().expose_secret(),
        "t1",
        "the first is fetched at once"
    );
    // Three hours without a request, in which a machine sleeps for one more.
    for minute in 0..180 * 6 {
        control.advance(10.0);
        if minute == 500 {
            control.clock.suspend(Duration::from_secs(3600));
            // The next look is at most 30 s away.
            for _ in 0..4 {
                settle().await;
                control.advance(10.0);
            }
        }
        settle().await;
        assert!(cache.peek().is_some(), "nobody has to wait");
    }
    let fetches = control.calls();
    assert!((5..=7).contains(&fetches), "{fetches}");
    drop(cache);
    settle().await;
    assert_eq!(control.clock.sleepers(), 0, "nothing is left behind");
}

#[test]
fn a_warm_cache_whose_runtime_ended_is_hosted_by_the_next_caller() {
    let current = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let (cache, control) = cache();
    cache.keep_warm();
    assert_eq!(
        control.calls(),
        0,
        "outside a runtime there is nobody to host it"
    );
    for expected in ["t1", "t2"] {
        let runtime = current();
        runtime.block_on(async {
            control.answer_all();
            cache.token().await.unwrap();
            settle().await;
            assert_eq!(cache.peek().unwrap().expose_secret(), expected);
            assert_eq!(control.clock.sleepers(), 1, "the task that keeps it warm");
        });
        drop(runtime);
        assert_eq!(control.clock.sleepers(), 0);
        control.advance(3600.0);
    }
}

#[tokio::test]
async fn refresh_takes_a_sooner_token_from_the_refresh_that_it_joined() {
    let (cache, control) = cache();
    control.fill(&cache, "t1").await;
    control.advance(DUE);
    cache.token().await.unwrap();
    let ahead = control.asked().await;
    let forced = tokio::spawn(cache.refresh());
    settle().await;
    let sooner = Token::new("t2")
        .unwrap()
        .expires_in(Duration::from_secs(60));
    ahead.answer(Ok(sooner));
    assert_eq!(forced.await.unwrap().unwrap().expose_secret(), "t2");
}

#[tokio::test]
async fn e03_invalid_credentials_among_other_failures_back_off_for_a_growing_while() {
    let (builder, control) = crate::support::scripted();
    let cache = builder.attempts(1).build();
    let mut remembered = Vec::new();
    for _ in 0..4 {
        for error in [
            SourceError::invalid_credentials("no"),
            SourceError::transient("down"),
        ] {
            let caller = tokio::spawn(cache.token());
            control.asked().await.answer(Err(error));
            let error = caller.await.unwrap().unwrap_err();
            let wait = error.retry_after().unwrap();
            if error.is_invalid_credentials() {
                remembered.push(wait.as_secs());
            }
            control.clock.advance(wait);
        }
    }
    assert_eq!(remembered, [10, 20, 40, 80]);
}

#[tokio::test]
async fn a_token_of_less_than_a_second_is_not_usable() {
    let (cache, control) = cache();
    let caller = tokio::spawn(cache.token());
    let short = Token::new("t1")
        .unwrap()
        .expires_in(Duration::from_millis(999));
    control.asked().await.answer(Ok(short));
    let error = caller.await.unwrap().unwrap_err();
    assert!(
        format!("{error:#}").contains("will within a second"),
        "{error}"
    );
}
