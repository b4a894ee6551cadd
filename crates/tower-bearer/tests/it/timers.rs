//! Runtimes without a timer, or whose timer is gone.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio_test::{assert_pending, assert_ready, task};
use tower_bearer::{
    SourceError, Token, TokenCache,
    clock::{Clock, SystemClock, TokioClock},
    source_fn,
};

use crate::support::{settle, token};

fn without_timer() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

/// Runs `story` and returns how many panics this thread's panic hook saw, caught ones too.
fn panics_in(story: impl FnOnce()) -> usize {
    static HOOK: Mutex<()> = Mutex::new(());
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let _one_at_a_time = HOOK.lock().unwrap_or_else(|it| it.into_inner());
    PANICS.store(0, Ordering::SeqCst);
    let here = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let name = std::thread::current().name().unwrap_or("").to_owned();
        if std::thread::current().id() == here || name == "tower-bearer-timer" {
            PANICS.fetch_add(1, Ordering::SeqCst);
        } else {
            before(info);
        }
    }));
    story();
    // The hook of before is gone with this one; the default one will do for the other tests.
    drop(std::panic::take_hook());
    PANICS.load(Ordering::SeqCst)
}

#[test]
fn l10_a_runtime_without_a_timer_fetches_waits_and_times_out_without_a_panic() {
    let panics = panics_in(|| {
        without_timer().block_on(async {
            let cache = TokenCache::new(source_fn(|_| async { Ok(Token::new("t1")?) }));
            assert_eq!(cache.token().await.unwrap().expose_secret(), "t1");
            cache.keep_warm();
            // An attempt that hangs ends, and a failed one is repeated.
            let hanging = source_fn(|_| std::future::pending::<Result<Token, SourceError>>());
            let cache = TokenCache::builder(hanging)
                .attempt_timeout(Duration::from_millis(20))
                .build();
            let error = cache.token().await.unwrap_err();
            assert!(error.is_timeout(), "{error}");
            assert_eq!(cache.status().counts.fetches, 3);
        });
    });
    assert_eq!(panics, 0);
}

#[test]
fn l10_a_clock_that_follows_tokios_time_sleeps_on_the_runtime_that_it_was_made_on() {
    let panics = panics_in(|| {
        let with_timer = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let clock = with_timer.block_on(async { TokioClock::new() });
        without_timer().block_on(async { drop(clock.sleep(Duration::from_secs(9))) });
        // Outside of any runtime it sleeps as the system clock does.
        let clock = TokioClock::new();
        without_timer().block_on(clock.sleep(Duration::from_millis(1)));
    });
    assert_eq!(panics, 0);
}

#[test]
fn l10_a_sleep_takes_as_long_as_it_says() {
    let clock = SystemClock::new();
    let runtime = without_timer();
    let before = clock.now();
    runtime.block_on(clock.sleep(Duration::from_millis(50)));
    assert!(clock.now().has_reached(before + Duration::from_millis(40)));
}

#[test]
fn l36_a_waiter_whose_own_runtime_was_shut_down_waits_on() {
    let current = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let (answer, answered) = tokio::sync::oneshot::channel::<()>();
    let answered = Mutex::new(Some(answered));
    let cache = TokenCache::new(source_fn(move |_| {
        let answered = answered.lock().unwrap().take().unwrap();
        async move {
            answered.await.map_err(|_| SourceError::transient("gone"))?;
            Ok(token("t1"))
        }
    }));
    let (driver, own) = (current(), current());
    let mut leader = task::spawn(cache.token());
    driver.block_on(async { assert_pending!(leader.poll()) });
    let mut waiter = task::spawn(cache.token());
    own.block_on(async { assert_pending!(waiter.poll()) });
    own.shutdown_background();
    let panics = panics_in(|| assert_pending!(waiter.poll()));
    assert_eq!(panics, 0);
    driver.block_on(async {
        answer.send(()).unwrap();
        settle().await;
    });
    assert_eq!(assert_ready!(waiter.poll()).unwrap().expose_secret(), "t1");
}
