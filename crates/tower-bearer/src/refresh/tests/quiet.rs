//! What is read without the lock: the tests hold it meanwhile.

use std::{sync::Arc, thread, time::Duration};

use super::support::{rejecting, settings, token};
use crate::{
    clock::ManualClock,
    error::SourceError,
    observe::Telemetry,
    refresh::{
        core::Core,
        look::{Look, Want},
    },
    source::source_fn,
};

fn core() -> (Arc<Core>, ManualClock) {
    let clock = ManualClock::new();
    let mut answers = vec![Err(SourceError::transient("down")), Ok(token("t1"))];
    let answers = std::sync::Mutex::new(std::mem::take(&mut answers));
    let source = source_fn(move |_| {
        let answer = answers.lock().unwrap().pop();
        async move { answer.unwrap_or_else(|| Err(SourceError::transient("down"))) }
    });
    let core = Core::new(
        Arc::new(source),
        Arc::new(clock.clone()),
        settings(),
        Telemetry::new("test".into()),
        fastrand::Rng::with_seed(7),
    );
    (Arc::new(core), clock)
}

async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

/// Runs `look` while somebody holds the lock. It fails where it would wait for that.
fn without_the_lock<R: Send>(core: &Core, look: impl FnOnce() -> R + Send) -> R {
    let held = core.lock();
    thread::scope(|scope| {
        let looking = scope.spawn(look);
        for _ in 0..500 {
            if looking.is_finished() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let waits = !looking.is_finished();
        drop(held);
        assert!(!waits, "it waits for the lock");
        looking.join().unwrap()
    })
}

#[tokio::test]
async fn l33_while_a_rejected_token_is_served_nobody_takes_a_lock() {
    let (core, clock) = core();
    drop(core.look(Want::ANY));
    settle().await;
    assert!(core.fresh(Duration::ZERO).is_some());
    // It is rejected. Others wait for its replacement, until the refresh has failed.
    drop(core.look(rejecting(1)));
    assert!(core.fresh(Duration::ZERO).is_none());
    settle().await;
    let served = || {
        let stamp = core.fresh(Duration::ZERO).map(|stamp| stamp.generation);
        (stamp, matches!(core.look(Want::ANY), Look::Serve(_)))
    };
    assert_eq!(without_the_lock(&core, served), (Some(1), true));
    // The backoff is over, so the next one begins a refresh; others are served as before.
    clock.advance(Duration::from_secs(60));
    assert!(core.fresh(Duration::ZERO).is_none());
    assert!(matches!(core.look(Want::ANY), Look::Serve(_)));
    assert_eq!(without_the_lock(&core, served), (Some(1), true));
}

#[tokio::test]
async fn l01_a_mark_is_taken_back_by_one_answer_and_the_next_ones_take_no_lock() {
    let (core, _clock) = core();
    drop(core.look(Want::ANY));
    settle().await;
    drop(core.look(rejecting(1)));
    core.accepted(1, || None);
    let is_rejected = || core.cell.read(|it| it.is_some_and(|it| it.is_rejected()));
    assert!(!is_rejected());
    let answers = || core.accepted(1, || panic!("nobody wants to know"));
    without_the_lock(&core, answers);
    assert_eq!(core.fresh(Duration::ZERO).map(|it| it.generation), Some(1));
}
