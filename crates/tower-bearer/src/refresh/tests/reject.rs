//! The decisions about a rejected token, one row a case.

use super::{
    support::{DUE, Did, Found, USABLE_UNTIL, World, at, down, rejecting, token},
    table::{check, launches, nothing, rejects, served_due, wait, wait_or_fall_back},
};
use crate::{
    error::Kind,
    observe::Reason,
    refresh::{complete::Verdict, look::Want, state::Phase},
};

/// `t1` was rejected at `now`, and its replacement is in flight.
fn rejected(now: u64) -> World {
    World::filled().after(|world| drop(world.decide(rejecting(1), now)))
}

/// The bucket of refreshes on rejection is empty.
fn without_permits(world: World, now: u64) -> World {
    world.after(|world| while world.state.limiter.take(at(now)).is_ok() {})
}

#[test]
fn g8_g12_g13_a_rejection_marks_its_own_token_and_is_handed_another() {
    let ahead = || World::filled().refreshing(Reason::Ahead, 100);
    check(vec![
        (
            "G8, D01: the current token",
            World::filled(),
            rejecting(1),
            100,
            wait(Reason::Rejected, 31),
            Did {
                launch: Some((Reason::Rejected, 1)),
                ..rejects(1)
            },
        ),
        (
            "D02: the next one joins",
            rejected(100),
            rejecting(1),
            101,
            wait(Reason::Rejected, 30),
            nothing(),
        ),
        (
            "D04: a refresh in flight is joined",
            ahead(),
            rejecting(1),
            101,
            wait(Reason::Ahead, 30),
            rejects(1),
        ),
        (
            "G12, D03: a newer token is the answer",
            World::filled().replaced(50),
            rejecting(1),
            100,
            Found::Serve(2),
            nothing(),
        ),
        (
            "G12: a due newer token too, and it is refreshed ahead",
            World::filled().replaced(0),
            rejecting(1),
            DUE,
            Found::Serve(2),
            Did {
                launch: Some((Reason::Ahead, 1)),
                ..served_due()
            },
        ),
        (
            "G13: who saw it rejected is not handed it again, nor does another look report it again",
            rejected(100),
            Want::ANY.other_than(1),
            101,
            wait(Reason::Rejected, 30),
            nothing(),
        ),
        (
            "G13: not during backoff either",
            rejected(100).backing_off(down(), Some(200)),
            Want::ANY.other_than(1),
            101,
            Found::Fail(Kind::Unavailable, Some(99)),
            nothing(),
        ),
    ]);
}

#[test]
fn g35_g38_a_rejected_token_is_not_gone() {
    let idle = |world: World| world.after(|world| world.state.phase = Phase::Idle);
    check(vec![
        (
            "G38: others wait for its first replacement, 2 s at most",
            rejected(100),
            Want::ANY,
            100,
            wait_or_fall_back(Reason::Rejected, 2),
            nothing(),
        ),
        (
            "G38: and are served it then",
            rejected(100),
            Want::ANY,
            102,
            Found::Serve(1),
            nothing(),
        ),
        (
            "D27: during backoff they are served it at once",
            rejected(100).backing_off(down(), Some(200)),
            Want::ANY,
            101,
            Found::Serve(1),
            nothing(),
        ),
        (
            "D27: later tries run behind",
            rejected(100).after(|world| drop(world.complete(Err(down()), 101))),
            Want::ANY,
            200,
            Found::Serve(1),
            Did {
                forgotten: true,
                ..launches(Reason::Rejected, 1)
            },
        ),
        (
            "G38: outside a runtime",
            idle(rejected(100)).without_runtime(),
            Want::ANY,
            101,
            Found::Serve(1),
            nothing(),
        ),
        (
            "G35: the limiter allows no refresh, so others are served it",
            without_permits(idle(rejected(100)), 100),
            Want::ANY,
            101,
            Found::Serve(1),
            nothing(),
        ),
        (
            "G35: and who saw it rejected gets an error",
            without_permits(World::filled(), 100),
            rejecting(1),
            101,
            Found::Fail(Kind::Limited, Some(4)),
            rejects(1),
        ),
        (
            "G35: a refresh that is due for another reason is not limited",
            without_permits(World::filled(), DUE),
            Want::ANY,
            DUE,
            Found::Serve(1),
            Did {
                launch: Some((Reason::Ahead, 1)),
                ..served_due()
            },
        ),
        (
            "G35: while refreshes do not help, a rejection makes nobody else wait",
            World::filled().after(|world| {
                world.state.limiter.judge(false);
                drop(world.decide(rejecting(1), 100));
            }),
            Want::ANY,
            100,
            Found::Serve(1),
            nothing(),
        ),
        (
            "G19: an expired one is gone",
            rejected(100).backing_off(down(), Some(USABLE_UNTIL + 1)),
            Want::ANY,
            USABLE_UNTIL,
            Found::Fail(Kind::Unavailable, Some(1)),
            nothing(),
        ),
    ]);
}

#[test]
fn g35_a_replacement_is_judged_once() {
    let replaced = || {
        let mut world = rejected(100);
        assert!(matches!(
            world.complete(Ok(token("t2")), 101),
            Verdict::Publish(_)
        ));
        assert_eq!(world.state.unjudged, Some(2));
        world
    };
    let accept = |world: &mut World, generation, now| {
        let current = world.current.clone();
        let state = &mut world.state;
        state.note_accepted(current.as_ref(), generation, None, at(now));
    };
    let mut accepted = replaced();
    accept(&mut accepted, 1, 102);
    assert_eq!(
        accepted.state.unjudged,
        Some(2),
        "an answer to the old token says nothing"
    );
    accept(&mut accepted, 2, 102);
    assert!(accepted.state.unjudged.is_none() && !accepted.state.limiter.is_futile());
    accepted.state.note_rejected_again(2, None, at(103));
    assert!(!accepted.state.limiter.is_futile(), "it was judged already");

    let mut again = replaced();
    again.state.note_rejected_again(2, None, at(102));
    assert!(again.state.unjudged.is_none() && again.state.limiter.is_futile());
    accept(&mut again, 2, 103);
    assert!(
        !again.state.limiter.is_futile(),
        "it was the target's own complaint"
    );

    let mut rejected = replaced();
    drop(rejected.decide(rejecting(2), 102));
    assert!(rejected.state.unjudged.is_none() && rejected.state.limiter.is_futile());
    accept(&mut rejected, 2, 103);
    let current = rejected.current.as_ref().unwrap();
    assert!(
        !current.is_rejected(),
        "the mark is taken back once somebody is accepted"
    );
}
