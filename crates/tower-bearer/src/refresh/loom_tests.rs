//! The protocol of the refresh and the cell, in every interleaving of a few threads: `scripts/loom`.
//!
//! Nothing is spawned here: a thread of the test plays the task and completes the refresh.

use std::{sync::Arc, time::Duration};

use loom::{future::block_on, model, thread};

use super::*;
use crate::token::Token;
use crate::{
    clock::ManualClock,
    error::SourceError,
    refresh::{Completion, Waiter},
    source::source_fn,
};

fn core() -> Arc<Core> {
    core_on(&ManualClock::new())
}

fn core_on(clock: &ManualClock) -> Arc<Core> {
    let settings = Settings {
        lifetime: lifetime::Policy::default(),
        attempts: 1,
        attempt_timeout: Duration::from_secs(10),
        refresh_timeout: Duration::from_secs(30),
    };
    let source = source_fn(|_| async { Err(SourceError::transient("nobody asks it")) });
    Arc::new(Core::new(
        Arc::new(source),
        Arc::new(clock.clone()),
        settings,
        Telemetry::new("loom".into()),
        fastrand::Rng::with_seed(7),
    ))
}

fn token(secret: &str) -> Token {
    let token = Token::new(secret).expect("it is one");
    token.expires_in(Duration::from_secs(3600))
}

/// The refresh that a caller waits for.
fn refresh(look: Look) -> Arc<InFlight> {
    match look {
        Look::Wait { refresh, .. } => refresh,
        other => panic!("{other:?}"),
    }
}

fn complete(core: &Core, refresh: &Arc<InFlight>, result: Result<Token, SourceError>) {
    // Whether it is done or is to ask once more is of no interest here.
    let _verdict = core.complete(refresh, core.clock.now(), result, 0, "the test");
}

/// A cache whose current token is `t1`, of generation 1, and not so new that none is fetched by force.
fn filled() -> Arc<Core> {
    let clock = ManualClock::new();
    let core = core_on(&clock);
    let first = refresh(core.look(Want::ANY));
    complete(&core, &first, Ok(token("t1")));
    clock.advance(Duration::from_secs(2));
    core
}

#[test]
fn no_waiter_is_lost() {
    model(|| {
        let core = core();
        let in_flight = refresh(core.look(Want::ANY));
        let waiter = Waiter::new(in_flight.clone());
        let waiting = thread::spawn(move || block_on(waiter));
        let leaving = Waiter::new(in_flight.clone());
        let left = thread::spawn(move || drop(leaving));
        complete(&core, &in_flight, Ok(token("t1")));
        assert!(matches!(waiting.join().unwrap(), Completion::Token(_)));
        left.join().unwrap();
    });
}

#[test]
fn two_who_look_at_once_share_one_refresh() {
    model(|| {
        let core = core();
        let other = core.clone();
        let theirs = thread::spawn(move || refresh(other.look(Want::ANY)));
        let ours = refresh(core.look(Want::ANY));
        assert!(Arc::ptr_eq(&ours, &theirs.join().unwrap()));
    });
}

#[test]
fn a_rejected_token_is_not_published_again() {
    model(|| {
        let core = filled();
        let in_flight = refresh(core.look(Want::NEW));
        let rejecting = core.clone();
        let rejected = thread::spawn(move || rejecting.reject(1, Want::ANY));
        complete(&core, &in_flight, Ok(token("t1")));
        drop(rejected.join().unwrap());
        // Either the rejection was first, and the refresh is to ask once more; or the token was, and was
        // rejected then.
        core.cell.read(|entry| {
            let entry = entry.expect("nothing clears the cell");
            assert!(entry.is_rejected() && entry.generation() == 1);
        });
    });
}

#[test]
fn who_saw_a_token_rejected_is_not_handed_it_again() {
    model(|| {
        let core = filled();
        let in_flight = refresh(core.look(Want::NEW));
        let rejecting = core.clone();
        let rejected = thread::spawn(move || match rejecting.reject(1, Want::ANY) {
            Look::Serve(token) => assert_eq!(token.generation(), 2),
            Look::Wait { refresh, .. } => match block_on(Waiter::new(refresh)) {
                Completion::Token(entry) => assert_eq!(entry.generation(), 2),
                other => panic!("{other:?}"),
            },
            Look::Fail(error) => panic!("{error}"),
        });
        complete(&core, &in_flight, Ok(token("t2")));
        rejected.join().unwrap();
        core.cell
            .read(|entry| assert!(entry.is_some_and(|entry| !entry.is_rejected())));
    });
}

#[test]
fn a_late_rejection_does_not_touch_the_newer_token() {
    model(|| {
        let core = filled();
        let in_flight = refresh(core.look(Want::NEW));
        let (one, two) = (core.clone(), core.clone());
        let first = thread::spawn(move || drop(one.reject(1, Want::ANY)));
        let second = thread::spawn(move || drop(two.reject(1, Want::ANY)));
        complete(&core, &in_flight, Ok(token("t2")));
        first.join().unwrap();
        second.join().unwrap();
        core.cell.read(|entry| {
            let entry = entry.expect("nothing clears the cell");
            assert!(!entry.is_rejected() && entry.generation() == 2);
        });
    });
}
