//! Each rule of the decision, one row a case.

use std::time::Duration;

use super::{
    support::{DUE, Did, Found, USABLE_UNTIL, World, at, down, refused, rejecting, secs},
    table::{check, launches, nothing, served_due, wait, wait_or_fall_back},
};
use crate::{
    error::Kind,
    observe::Reason,
    refresh::{look::Want, state::Phase},
};

#[test]
fn g1_g4_g5_g19_a_usable_token_is_served_and_an_expired_one_never() {
    let ahead = || World::filled().refreshing(Reason::Ahead, DUE);
    check(vec![
        (
            "G1: fresh",
            World::filled(),
            Want::ANY,
            100,
            Found::Serve(1),
            nothing(),
        ),
        (
            "G1: fresh, outside a runtime",
            World::filled().without_runtime(),
            Want::ANY,
            100,
            Found::Serve(1),
            nothing(),
        ),
        (
            "G5: due, so it is refreshed ahead, in one attempt",
            World::filled(),
            Want::ANY,
            DUE,
            Found::Serve(1),
            Did {
                launch: Some((Reason::Ahead, 1)),
                ..served_due()
            },
        ),
        (
            "G2, G4: due and refreshing",
            ahead(),
            Want::ANY,
            DUE + 1,
            Found::Serve(1),
            served_due(),
        ),
        (
            "G5: due, and its refresh failed",
            World::filled().backing_off(down(), Some(DUE + 60)),
            Want::ANY,
            DUE + 1,
            Found::Serve(1),
            served_due(),
        ),
        (
            "G3: due, outside a runtime",
            World::filled().without_runtime(),
            Want::ANY,
            DUE,
            Found::Serve(1),
            served_due(),
        ),
        (
            "G19: expired",
            World::filled(),
            Want::ANY,
            USABLE_UNTIL,
            wait(Reason::Expired, 31),
            launches(Reason::Expired, 3),
        ),
        (
            "G19: expired while its refresh is in flight",
            World::filled().refreshing(Reason::Ahead, USABLE_UNTIL - 10),
            Want::ANY,
            USABLE_UNTIL,
            wait(Reason::Ahead, 21),
            nothing(),
        ),
        (
            "G19, B03: expired during backoff",
            World::filled().backing_off(down(), Some(USABLE_UNTIL + 10)),
            Want::ANY,
            USABLE_UNTIL,
            Found::Fail(Kind::Unavailable, Some(10)),
            nothing(),
        ),
    ]);
}

#[test]
fn g2_g3_one_refresh_is_in_flight_and_a_lost_one_is_replaced() {
    let initial = || World::empty().refreshing(Reason::Initial, 0);
    check(vec![
        (
            "the first look",
            World::empty(),
            Want::ANY,
            0,
            wait(Reason::Initial, 31),
            launches(Reason::Initial, 3),
        ),
        (
            "G2: the next joins",
            initial(),
            Want::ANY,
            10,
            wait(Reason::Initial, 21),
            nothing(),
        ),
        (
            "A14: it is older than any refresh on a running runtime",
            initial(),
            Want::ANY,
            31,
            wait(Reason::Initial, 31),
            Did {
                give_up: true,
                ..launches(Reason::Initial, 3)
            },
        ),
        (
            "G3: outside a runtime",
            World::empty().without_runtime(),
            Want::ANY,
            0,
            Found::Fail(Kind::NoRuntime, None),
            nothing(),
        ),
        (
            "A13: outside a runtime a refresh on another one is joined",
            initial().without_runtime(),
            Want::ANY,
            1,
            wait(Reason::Initial, 30),
            nothing(),
        ),
    ]);
}

#[test]
fn g9_g16_a_changed_secret_ends_a_refresh_and_a_backoff() {
    check(vec![
        (
            "G9: a refresh with the old secret",
            World::empty()
                .refreshing(Reason::Initial, 0)
                .secret_changed(),
            Want::ANY,
            1,
            wait(Reason::Initial, 31),
            Did {
                give_up: true,
                ..launches(Reason::Initial, 3)
            },
        ),
        (
            "G9: a due token of the old secret",
            World::filled().secret_changed(),
            Want::ANY,
            DUE,
            Found::Serve(1),
            Did {
                launch: Some((Reason::SecretChanged, 1)),
                ..served_due()
            },
        ),
        (
            "G9: an epoch that was read before another thread's",
            World::empty().after(|world| {
                world.state.epoch = 1;
                drop(world.state.begin(Reason::Initial, at(0), 1));
            }),
            Want::ANY,
            1,
            wait(Reason::Initial, 30),
            nothing(),
        ),
        (
            "G16: invalid credentials are remembered",
            World::empty().backing_off(refused(), Some(10)),
            Want::ANY,
            4,
            Found::Fail(Kind::InvalidCredentials, Some(6)),
            nothing(),
        ),
        (
            "G16: for a while",
            World::empty().backing_off(refused(), Some(10)),
            Want::ANY,
            10,
            wait(Reason::Initial, 31),
            Did {
                forgotten: true,
                ..launches(Reason::Initial, 3)
            },
        ),
        (
            "G16: or until the secret changes, where asking again would do harm",
            World::empty().backing_off(refused(), None),
            Want::ANY,
            1_000_000,
            Found::Fail(Kind::InvalidCredentials, None),
            nothing(),
        ),
        (
            "G16: a changed secret forgets them at once",
            World::empty().backing_off(refused(), None).secret_changed(),
            Want::ANY,
            1,
            wait(Reason::Initial, 31),
            Did {
                forgotten: true,
                ..launches(Reason::Initial, 3)
            },
        ),
    ]);
}

#[test]
fn g33_a_forced_refresh_obeys_what_others_obey() {
    check(vec![
        (
            "although the token is fresh",
            World::filled(),
            Want::NEW,
            100,
            wait(Reason::Forced, 31),
            launches(Reason::Forced, 1),
        ),
        (
            "it joins a refresh in flight",
            World::filled().refreshing(Reason::Ahead, 100),
            Want::NEW,
            101,
            wait(Reason::Ahead, 30),
            nothing(),
        ),
        (
            "once a second",
            World::filled(),
            Want::NEW,
            0,
            Found::Serve(1),
            nothing(),
        ),
        (
            "unless what came then was rejected",
            World::filled().after(|world| {
                drop(world.decide(rejecting(1), 0));
                world.state.phase = Phase::Idle;
            }),
            Want::NEW,
            0,
            wait(Reason::Forced, 31),
            launches(Reason::Forced, 1),
        ),
        (
            "it obeys the backoff",
            World::filled().backing_off(down(), Some(110)),
            Want::NEW,
            100,
            Found::Fail(Kind::Unavailable, Some(10)),
            nothing(),
        ),
    ]);
}

#[test]
fn more_time_than_is_left_is_fetched_if_it_can_be_had() {
    let want = Want::lasting(secs(600));
    check(vec![
        (
            "enough is left",
            World::filled(),
            want,
            DUE,
            Found::Serve(1),
            Did {
                launch: Some((Reason::Ahead, 1)),
                ..served_due()
            },
        ),
        (
            "too little is left",
            World::filled(),
            want,
            DUE + 1,
            wait_or_fall_back(Reason::Ahead, 31),
            launches(Reason::Ahead, 1),
        ),
        (
            "G6: nobody can want more than half of a lifetime",
            World::filled(),
            Want::lasting(secs(86_400)),
            1799,
            Found::Serve(1),
            nothing(),
        ),
        (
            "no more can be had now",
            World::filled().backing_off(down(), Some(DUE + 60)),
            want,
            DUE + 1,
            Found::Serve(1),
            nothing(),
        ),
    ]);
}

#[test]
fn keep_warm_looks_again_when_something_can_have_changed() {
    let next = |world: World, now| {
        let current = world.current.clone();
        world.state.next_look(current.as_ref(), at(now))
    };
    assert_eq!(next(World::empty(), 0), Duration::ZERO);
    assert_eq!(next(World::filled(), 100), secs(DUE - 100));
    assert_eq!(next(World::filled(), USABLE_UNTIL), Duration::ZERO);
    assert_eq!(
        next(World::filled().refreshing(Reason::Ahead, 100), 100),
        secs(1)
    );
    assert_eq!(
        next(World::empty().backing_off(down(), Some(60)), 20),
        secs(40)
    );
    assert_eq!(
        next(World::empty().backing_off(refused(), None), 20),
        Duration::MAX
    );
}
