//! A state, a current token and a moment, without a clock, a runtime or a lock.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use crate::{
    clock::Reading,
    error::{Error, Kind, SourceError},
    observe::Reason,
    refresh::{
        cell::Entry,
        complete::{Fetched, Verdict},
        decide::{Effects, Moment},
        in_flight::InFlight,
        lifetime::{Policy, Schedule},
        limit::Limits,
        look::{Look, Want},
        settings::Settings,
        state::{Phase, State},
    },
    token::Token,
};

/// The token of an hour, as the tests meet it: due from here on, and usable until there.
pub(super) const DUE: u64 = 2970;
pub(super) const USABLE_UNTIL: u64 = 3570;

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn at(at: u64) -> Reading {
    Reading::new(secs(at), UNIX_EPOCH + secs(at))
}

/// A token of an hour.
pub(super) fn token(secret: &str) -> Token {
    Token::new(secret)
        .expect("the test's secrets are legal")
        .expires_in(secs(3600))
}

/// The entry of such a token, without jitter.
pub(super) fn entry(secret: &str, generation: u64, sent: u64) -> Arc<Entry> {
    let schedule = Schedule::new(at(sent), secs(3600), &Policy::default(), 0.0);
    let token = token(secret).issued(0, generation);
    Arc::new(Entry::new(token, schedule))
}

/// A cache without its clock, runtime and lock.
pub(super) struct World {
    pub(super) state: State,
    pub(super) current: Option<Arc<Entry>>,
    pub(super) epoch: u64,
    pub(super) has_runtime: bool,
}

/// What a look found, to compare. Times are in seconds.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// The token of this generation.
    Serve(u64),
    /// A refresh for this reason.
    Wait {
        reason: Reason,
        at_most: u64,
        fallback: bool,
    },
    /// An error, and the time to the next try.
    Fail(Kind, Option<u64>),
}

/// What is to be done after it, to compare.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Did {
    /// The reason and the attempts of a refresh that has begun.
    pub(super) launch: Option<(Reason, u32)>,
    pub(super) give_up: bool,
    pub(super) forgotten: bool,
    pub(super) rejected: Option<u64>,
    pub(super) served_due: bool,
}

impl World {
    /// No token was ever fetched.
    pub(super) fn empty() -> Self {
        Self {
            state: State::new(fastrand::Rng::with_seed(7), Limits::default()),
            current: None,
            epoch: 0,
            has_runtime: true,
        }
    }

    /// `t1` of generation 1 was published at 0.
    pub(super) fn filled() -> Self {
        let mut world = Self::empty();
        world.publish(entry("t1", 1, 0), 0);
        world
    }

    fn publish(&mut self, entry: Arc<Entry>, now: u64) {
        let refresh = InFlight::new(Reason::Initial, self.state.epoch, at(now), 1, false);
        self.state.note_published(&refresh, &entry, false, at(now));
        self.current = Some(entry);
    }

    /// `t2` of generation 2 has replaced it.
    pub(super) fn replaced(mut self, now: u64) -> Self {
        self.publish(entry("t2", 2, now), now);
        self
    }

    pub(super) fn refreshing(mut self, reason: Reason, since: u64) -> Self {
        drop(self.state.begin(reason, at(since), 1));
        self
    }

    pub(super) fn backing_off(mut self, error: SourceError, until: Option<u64>) -> Self {
        self.state.phase = Phase::Backoff {
            until: until.map(at),
            epoch: Some(self.state.epoch),
            error: Error::from(error),
        };
        self
    }

    pub(super) fn secret_changed(mut self) -> Self {
        self.epoch += 1;
        self
    }

    pub(super) fn without_runtime(mut self) -> Self {
        self.has_runtime = false;
        self
    }

    /// Does something to it before the look that is tested.
    pub(super) fn after(mut self, story: impl FnOnce(&mut Self)) -> Self {
        story(&mut self);
        self
    }

    pub(super) fn decide(&mut self, want: Want, now: u64) -> (Look, Effects) {
        let moment = Moment {
            now: at(now),
            epoch: self.epoch,
            has_runtime: self.has_runtime,
        };
        self.state
            .decide(self.current.as_ref(), want, moment, &settings())
    }

    /// Decides, and returns what can be compared.
    pub(super) fn look(&mut self, want: Want, now: u64) -> (Found, Did) {
        let (look, effects) = self.decide(want, now);
        let found = match look {
            Look::Serve(token) => Found::Serve(token.generation()),
            Look::Wait {
                refresh,
                at_most,
                fallback,
            } => Found::Wait {
                reason: refresh.reason,
                at_most: at_most.as_secs(),
                fallback,
            },
            Look::Fail(error) => {
                let retry_after = error.retry_after().map(|it| it.as_secs());
                Found::Fail(error.kind().clone(), retry_after)
            }
        };
        let did = Did {
            launch: effects.launch.map(|it| (it.reason, it.attempts)),
            give_up: effects.give_up.is_some(),
            forgotten: effects.forgotten.is_some(),
            rejected: effects.rejected,
            served_due: effects.served_due,
        };
        (found, did)
    }

    /// The refresh in flight.
    pub(super) fn in_flight(&self) -> Arc<InFlight> {
        match &self.state.phase {
            Phase::Refreshing { refresh, .. } => refresh.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Completes the refresh in flight, whose request was sent when it began.
    pub(super) fn complete(&mut self, result: Result<Token, SourceError>, now: u64) -> Verdict {
        let refresh = self.in_flight();
        self.complete_this(&refresh, result, now)
    }

    pub(super) fn complete_this(
        &mut self,
        refresh: &Arc<InFlight>,
        result: Result<Token, SourceError>,
        now: u64,
    ) -> Verdict {
        let fetched = Fetched {
            sent: refresh.began,
            result,
            epoch: self.epoch,
            described: "the test",
        };
        let current = self.current.clone();
        let policy = Policy::default();
        let verdict = self
            .state
            .complete(refresh, current.as_ref(), &fetched, at(now), &policy);
        if let Verdict::Publish(entry) = &verdict {
            self.current = Some(entry.clone());
        }
        verdict
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        lifetime: Policy::default(),
        attempts: 3,
        attempt_timeout: secs(10),
        refresh_timeout: secs(30),
        limits: Limits::default(),
    }
}

pub(super) fn rejecting(generation: u64) -> Want {
    Want::ANY.rejecting(generation)
}

pub(super) fn down() -> SourceError {
    SourceError::transient("down")
}

pub(super) fn refused() -> SourceError {
    SourceError::invalid_credentials("no")
}
