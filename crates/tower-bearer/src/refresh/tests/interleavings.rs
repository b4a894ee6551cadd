//! The protocol of the state, the cell and the wait list, in every interleaving of a few threads.
//!
//! `scripts/loom` runs it. The pure parts stand behind loom's locks here, which are taken in the order and
//! for as long as [`Core`](crate::refresh::Core) and `Waiter` take theirs. loom cannot look into arc-swap, so
//! the cell is a mutex; a stress test in `cell` covers arc-swap itself.

#![cfg(tower_bearer_loom)]

use std::{
    future::{Future, poll_fn},
    task::{Poll, Waker},
};

use loom::{
    future::block_on,
    model,
    sync::{Arc, Mutex},
    thread,
};

use super::support::{at, settings, token};
use crate::{
    refresh::{
        cell::{Entry, Standing},
        complete::{Fetched, Verdict},
        decide::Moment,
        in_flight::InFlight,
        lifetime::Policy,
        limit::Limits,
        look::{Look, Want},
        state::State,
        wait_list::{Completion, WaitList},
    },
    token::Token,
};

type Current = Option<std::sync::Arc<Entry>>;
type Refresh = std::sync::Arc<InFlight>;

/// A cache whose locks are loom's.
struct Model {
    now: u64,
    cell: Mutex<Current>,
    state: Mutex<State>,
    /// Those who wait for the one refresh that is in flight while threads race.
    waiting: Mutex<WaitList>,
}

impl Model {
    fn empty() -> Self {
        Self {
            now: 0,
            cell: Mutex::default(),
            state: Mutex::new(State::new(fastrand::Rng::with_seed(7), Limits::default())),
            waiting: Mutex::default(),
        }
    }

    /// A cache whose current token is `t1` of generation 1, old enough to be replaced by force.
    fn filled() -> Self {
        let model = Self::empty();
        let first = refresh(model.look(Want::ANY));
        model.complete(&first, "t1");
        Self {
            now: 2,
            waiting: Mutex::default(),
            ..model
        }
    }

    fn current(&self) -> Current {
        self.cell.lock().unwrap().clone()
    }

    fn look(&self, want: Want) -> Look {
        let now = at(self.now);
        let fresh = self
            .current()
            .filter(|entry| entry.standing_for(want, now) == Standing::Fresh);
        if let Some(entry) = fresh {
            return Look::Serve(entry.token.clone());
        }
        let moment = Moment {
            now,
            epoch: 0,
            has_runtime: true,
        };
        let mut state = self.state.lock().unwrap();
        let current = self.current();
        let (look, _effects) = state.decide(current.as_ref(), want, moment, &settings());
        look
    }

    fn reject(&self, generation: u64) -> Look {
        self.look(Want::ANY.rejecting(generation))
    }

    fn complete(&self, refresh: &Refresh, secret: &str) {
        let now = at(self.now);
        let fetched = Fetched {
            sent: now,
            result: Ok(token(secret)),
            epoch: 0,
            described: "the test",
        };
        let mut state = self.state.lock().unwrap();
        let current = self.current();
        let verdict = state.complete(refresh, current.as_ref(), &fetched, now, &Policy::default());
        let completion = match verdict {
            Verdict::AskAgain => return,
            Verdict::Publish(entry) => {
                *self.cell.lock().unwrap() = Some(entry);
                Completion::Refreshed
            }
            Verdict::Failed(error) | Verdict::Unchanged(error) => Completion::Failed(error),
            other => panic!("{other:?}"),
        };
        drop(state);
        let wakers = self.waiting.lock().unwrap().complete(completion);
        wakers.for_each(Waker::wake);
    }

    fn wait(&self) -> impl Future<Output = Completion> {
        let mut place = None;
        poll_fn(move |cx| {
            let mut waker = Some(cx.waker().clone());
            let completion = self.waiting.lock().unwrap().poll(&mut place, &mut waker);
            completion.map_or(Poll::Pending, Poll::Ready)
        })
    }

    /// Waits as long as it takes, as `Acquire` does.
    fn acquire(&self, want: Want, first: Look) -> Token {
        let mut look = first;
        loop {
            match look {
                Look::Serve(token) => return token,
                Look::Fail(error) => panic!("{error}"),
                Look::Wait { .. } => {
                    assert!(matches!(block_on(self.wait()), Completion::Refreshed))
                }
            }
            look = self.look(want);
        }
    }
}

/// The refresh that a caller waits for.
fn refresh(look: Look) -> Refresh {
    match look {
        Look::Wait { refresh, .. } => refresh,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_waiter_is_lost() {
    model(|| {
        let model = Arc::new(Model::empty());
        let in_flight = refresh(model.look(Want::ANY));
        let (waits, leaves) = (model.clone(), model.clone());
        let waiting = thread::spawn(move || block_on(waits.wait()));
        let leaving = thread::spawn(move || {
            let mut place = None;
            let mut waker = Some(Waker::noop().clone());
            let completion = leaves.waiting.lock().unwrap().poll(&mut place, &mut waker);
            if completion.is_none() {
                let place = place.expect("it has entered");
                drop(leaves.waiting.lock().unwrap().leave(place));
            }
        });
        model.complete(&in_flight, "t1");
        assert!(matches!(waiting.join().unwrap(), Completion::Refreshed));
        leaving.join().unwrap();
    });
}

#[test]
fn two_who_look_at_once_share_one_refresh() {
    model(|| {
        let model = Arc::new(Model::empty());
        let other = model.clone();
        let theirs = thread::spawn(move || refresh(other.look(Want::ANY)));
        let ours = refresh(model.look(Want::ANY));
        assert!(std::sync::Arc::ptr_eq(&ours, &theirs.join().unwrap()));
    });
}

#[test]
fn a_rejected_token_is_not_published_again() {
    model(|| {
        let model = Arc::new(Model::filled());
        let in_flight = refresh(model.look(Want::NEW));
        let rejecting = model.clone();
        let rejected = thread::spawn(move || drop(rejecting.reject(1)));
        model.complete(&in_flight, "t1");
        rejected.join().unwrap();
        // Either the rejection was first, and the refresh asks once more; or the completion was, and its
        // token was rejected afterwards.
        let current = model.current().expect("nothing clears the cell");
        assert!(current.is_rejected() && current.generation() == 1);
    });
}

#[test]
fn who_saw_a_token_rejected_is_not_handed_it_again() {
    model(|| {
        let model = Arc::new(Model::filled());
        let in_flight = refresh(model.look(Want::NEW));
        let rejecting = model.clone();
        let rejected = thread::spawn(move || {
            let look = rejecting.reject(1);
            let token = rejecting.acquire(Want::ANY.other_than(1), look);
            assert_eq!(token.generation(), 2);
        });
        model.complete(&in_flight, "t2");
        rejected.join().unwrap();
        assert!(!model.current().expect("a token").is_rejected());
    });
}

#[test]
fn a_late_rejection_does_not_touch_the_newer_token() {
    model(|| {
        let model = Arc::new(Model::filled());
        let in_flight = refresh(model.look(Want::NEW));
        let (one, two) = (model.clone(), model.clone());
        let first = thread::spawn(move || drop(one.reject(1)));
        let second = thread::spawn(move || drop(two.reject(1)));
        model.complete(&in_flight, "t2");
        first.join().unwrap();
        second.join().unwrap();
        let current = model.current().expect("nothing clears the cell");
        assert!(!current.is_rejected() && current.generation() == 2);
    });
}
