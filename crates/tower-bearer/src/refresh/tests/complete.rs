//! What a result becomes, one row a case.

use std::sync::Arc;

use super::support::{DUE, USABLE_UNTIL, World, at, down, refused, rejecting, secs, token};
use crate::{
    error::{Kind, SourceError},
    observe::Reason,
    refresh::{complete::Verdict, look::Want, state::Phase},
    token::Token,
};

/// What becomes of a result, to compare.
#[derive(Debug, PartialEq)]
enum Became {
    Published(u64),
    AskAgain,
    Superseded,
    /// Failed, with this at the end of its message, and backing off.
    Failed(&'static str),
}

/// A case, the world with its refresh in flight, the result and when it comes; what becomes of it.
type Row = (&'static str, World, Result<Token, SourceError>, u64, Became);

fn check(rows: Vec<Row>) {
    for (case, mut world, result, now, expected) in rows {
        let before = world.current.clone();
        let verdict = world.complete(result, now);
        let became = match &verdict {
            Verdict::Ignored => panic!("{case}: it is in flight"),
            Verdict::Publish(entry) => Became::Published(entry.generation()),
            Verdict::AskAgain => Became::AskAgain,
            Verdict::Superseded => Became::Superseded,
            Verdict::Failed(error) | Verdict::Unchanged(error) => match expected {
                Became::Failed(end) if error.message().ends_with(end) => Became::Failed(end),
                _ => panic!("{case}: {error}"),
            },
        };
        assert_eq!(became, expected, "{case}");
        let is_as_it_should_be = match verdict {
            Verdict::AskAgain => matches!(world.state.phase, Phase::Refreshing { .. }),
            Verdict::Failed(_) | Verdict::Unchanged(_) => {
                matches!(world.state.phase, Phase::Backoff { .. })
            }
            _ => matches!(world.state.phase, Phase::Idle),
        };
        assert!(is_as_it_should_be, "{case}: {:?}", world.state.phase);
        if !matches!(became, Became::Published(_)) {
            let same = match (&before, &world.current) {
                (Some(before), Some(after)) => Arc::ptr_eq(before, after),
                (before, after) => before.is_none() && after.is_none(),
            };
            assert!(same, "{case}: the current token stays");
        }
    }
}

fn lasting(secret: &str, lifetime: u64) -> Token {
    token(secret).expires_in(secs(lifetime))
}

#[test]
fn g20_a_token_replaces_the_current_one_only_if_it_is_better() {
    let ahead = || World::filled().refreshing(Reason::Ahead, DUE);
    let now = DUE + 1;
    check(vec![
        (
            "the first",
            World::empty().refreshing(Reason::Initial, 0),
            Ok(token("t1")),
            1,
            Became::Published(1),
        ),
        (
            "a later one",
            ahead(),
            Ok(token("t2")),
            now,
            Became::Published(2),
        ),
        (
            "B06: the same bytes, prolonged, keep their generation",
            ahead(),
            Ok(token("t1")),
            now,
            Became::Published(1),
        ),
        (
            "B06: the same bytes, not prolonged",
            ahead(),
            Ok(lasting("t1", 600)),
            now,
            Became::Failed("the current token again, which lives no longer"),
        ),
        (
            "B07: one that expires earlier",
            ahead(),
            Ok(lasting("t2", 600)),
            now,
            Became::Failed("a token that expires no later than the current one"),
        ),
        (
            "G33: a forced one may expire earlier",
            World::filled().refreshing(Reason::Forced, DUE),
            Ok(lasting("t2", 600)),
            now,
            Became::Published(2),
        ),
        (
            "G33: so may one that was forced while it was in flight",
            ahead().after(|world| drop(world.decide(Want::NEW, now))),
            Ok(lasting("t2", 600)),
            now,
            Became::Published(2),
        ),
        (
            "G20: so may the first one of a new secret",
            World::filled()
                .secret_changed()
                .after(|world| drop(world.decide(Want::ANY, DUE))),
            Ok(lasting("t2", 600)),
            now,
            Became::Published(2),
        ),
        (
            "B07: and any, once the current one was rejected",
            World::filled().after(|world| drop(world.decide(rejecting(1), 100))),
            Ok(lasting("t2", 600)),
            101,
            Became::Published(2),
        ),
        (
            "B08: an expired one",
            ahead(),
            Ok(lasting("t2", 1)),
            now,
            Became::Failed("a clock may be wrong, here or there"),
        ),
        (
            "a failure",
            ahead(),
            Err(down()),
            now,
            Became::Failed("down"),
        ),
    ]);
}

#[test]
fn d05_d24_a_rejected_token_is_not_published_again_before_it_expires() {
    let again = "the test gave the token again that was rejected";
    let rejected_meanwhile = || {
        World::filled()
            .refreshing(Reason::Ahead, 100)
            .after(|world| drop(world.decide(rejecting(1), 101)))
    };
    check(vec![
        (
            "D05: it was rejected while the refresh was in flight",
            rejected_meanwhile(),
            Ok(token("t1")),
            102,
            Became::AskAgain,
        ),
        (
            "D05: the source is asked once more, and not twice",
            rejected_meanwhile().after(|world| drop(world.complete(Ok(token("t1")), 102))),
            Ok(token("t1")),
            103,
            Became::Failed(again),
        ),
        (
            "D24: it was rejected before",
            World::filled().after(|world| drop(world.decide(rejecting(1), 100))),
            Ok(token("t1")),
            101,
            Became::Failed(again),
        ),
        (
            "D24: nor does it come back in turns with another",
            World::filled()
                .after(|world| drop(world.decide(rejecting(1), 100)))
                .after(|world| drop(world.complete(Ok(token("t2")), 101)))
                .after(|world| drop(world.decide(rejecting(2), 102))),
            Ok(token("t1")),
            103,
            Became::Failed(again),
        ),
        (
            "after its end it is a token like any other",
            World::filled()
                .after(|world| drop(world.decide(rejecting(1), 100)))
                .after(|world| drop(world.complete(Err(down()), 101)))
                .after(|world| drop(world.decide(Want::ANY, USABLE_UNTIL))),
            Ok(token("t1")),
            USABLE_UNTIL,
            Became::Published(1),
        ),
    ]);
}

#[test]
fn g9_a_result_for_an_older_secret_is_dropped() {
    let changed = |times: u32| {
        World::filled()
            .refreshing(Reason::Ahead, DUE)
            .secret_changed()
            .after(|world| world.state.superseded = times - 1)
    };
    check(vec![
        (
            "E10: a token",
            changed(1),
            Ok(token("t2")),
            DUE,
            Became::Superseded,
        ),
        (
            "E10: a failure",
            changed(2),
            Err(refused()),
            DUE,
            Became::Superseded,
        ),
        (
            "a secret that never stays is a failure",
            changed(3),
            Ok(token("t2")),
            DUE,
            Became::Failed("the test changed its secret during each of the last 3 fetches"),
        ),
    ]);
}

#[test]
fn a_refresh_that_was_given_up_changes_nothing() {
    let mut world = World::empty().refreshing(Reason::Initial, 0);
    let lost = world.in_flight();
    drop(world.decide(Want::ANY, 31));
    let second = world.in_flight();
    assert!(!Arc::ptr_eq(&lost, &second));
    assert!(matches!(
        world.complete_this(&lost, Ok(token("late")), 32),
        Verdict::Ignored
    ));
    assert!(!world.state.lose(&lost));
    assert!(world.current.is_none() && world.state.is_in_flight(&second));
    assert!(matches!(
        world.complete(Ok(token("t1")), 32),
        Verdict::Publish(_)
    ));
}

#[test]
fn g16_g17_a_failure_is_remembered_for_a_growing_while() {
    let until = |world: &World| match &world.state.phase {
        Phase::Backoff { until, .. } => *until,
        other => panic!("{other:?}"),
    };
    let fails = |world: World, error: SourceError| {
        let mut world = world.refreshing(Reason::Initial, 0);
        let Verdict::Failed(error) = world.complete(Err(error), 0) else {
            panic!("it failed");
        };
        (world, error)
    };
    let (world, first) = fails(World::empty(), refused());
    assert_eq!(*first.kind(), Kind::InvalidCredentials);
    assert_eq!(first.retry_after(), Some(secs(10)));
    let (_, second) = fails(world, refused());
    assert_eq!(second.retry_after(), Some(secs(20)));
    let (_, asked) = fails(World::empty(), down().retry_after(secs(120)));
    assert_eq!(asked.retry_after(), Some(secs(120)));
    let (world, forever) = fails(World::empty(), refused().until_changed());
    assert!(forever.retry_after().is_none() && until(&world).is_none());
}

#[test]
fn a_token_that_has_expired_on_its_way_is_not_the_first_one_either() {
    check(vec![(
        "B08: an expired one, while there is none",
        World::empty().refreshing(Reason::Initial, 0),
        Ok(lasting("t1", 10)),
        10,
        Became::Failed("a clock may be wrong, here or there"),
    )]);
}

#[test]
fn a_success_ends_the_count_of_failures_and_of_changed_secrets() {
    let mut world = World::empty();
    let fail = |world: &mut World, error: SourceError| {
        drop(world.state.begin(Reason::Initial, at(0), 1));
        match world.complete(Err(error), 0) {
            Verdict::Failed(error) => error.retry_after().unwrap(),
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..4 {
        fail(&mut world, down());
        fail(&mut world, refused());
    }
    world.state.superseded = 2;
    drop(world.state.begin(Reason::Initial, at(0), 1));
    assert!(matches!(
        world.complete(Ok(token("t1")), 0),
        Verdict::Publish(_)
    ));
    assert_eq!(world.state.superseded, 0);
    assert!(!world.state.has_failed());
    assert!(fail(&mut world, down()) <= secs(1));
    assert_eq!(fail(&mut world, refused()), secs(10));
}

#[test]
fn d24_the_last_four_rejected_tokens_are_remembered() {
    let mut world = World::filled();
    for generation in 1..=4 {
        drop(world.decide(rejecting(generation), 100 * generation));
        // The limiter is of no interest here.
        if !matches!(world.state.phase, Phase::Refreshing { .. }) {
            drop(world.state.begin(Reason::Rejected, at(100 * generation), 1));
        }
        let next = token(&format!("t{}", generation + 1));
        assert!(matches!(
            world.complete(Ok(next), 100 * generation),
            Verdict::Publish(_)
        ));
    }
    for secret in ["t1", "t2", "t3", "t4"] {
        assert!(
            world.state.was_rejected(&token(secret), at(500)),
            "{secret}"
        );
    }
    assert!(!world.state.was_rejected(&token("t5"), at(500)));
}

#[test]
fn g38_the_wait_for_a_replacement_ends_with_its_refresh() {
    let waits = |world: &World| world.state.replacement_wait.is_some();
    let rejected = || {
        let world = World::filled().after(|world| drop(world.decide(rejecting(1), 100)));
        assert!(waits(&world));
        world
    };
    let mut failed = rejected();
    drop(failed.complete(Err(down()), 101));
    assert!(!waits(&failed));
    let mut replaced = rejected();
    drop(replaced.complete(Ok(token("t2")), 101));
    assert!(!waits(&replaced));
    // While refreshes do not help, a further rejection does not renew it.
    replaced.state.limiter.judge(false);
    drop(replaced.decide(rejecting(2), 102));
    assert!(!waits(&replaced));
    // It is over for who finds it over.
    let mut late = rejected();
    drop(late.decide(Want::ANY, 102));
    assert!(!waits(&late));
}
