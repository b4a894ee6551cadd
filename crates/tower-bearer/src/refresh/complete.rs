//! What a result becomes when its refresh completes: a published token, a backoff, or nothing. Pure, like
//! [`decide`](super::decide).

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Reading,
    error::{Error, Kind, SourceError},
    token::Token,
};

use super::{
    cell::Entry,
    in_flight::InFlight,
    lifetime::{self, Policy, Schedule},
    state::{Phase, State},
};

/// What the source returned, and when.
#[derive(Debug)]
pub(super) struct Fetched<'a> {
    /// When the request was sent: a lifetime counts from there (G22).
    pub(super) sent: Reading,
    pub(super) result: Result<Token, SourceError>,
    /// The source's epoch after the fetch.
    pub(super) epoch: u64,
    /// What the source calls itself.
    pub(super) described: &'a str,
}

/// What becomes of a result.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing: the refresh was given up before.
    Ignored,
    /// The source handed out the token that was rejected meanwhile: ask it once more (D05).
    AskAgain,
    /// The token becomes the current one. The caller puts it into the cell before it releases the lock.
    Publish(Arc<Entry>),
    /// There is no token; all who waited get this error.
    Failed(Error),
    /// The source gave the current token again, which is usable: nothing has failed, but all who waited for
    /// another one get this error.
    Unchanged(Error),
    /// The secret changed meanwhile, so the result is dropped, and those who waited look again (G9).
    Superseded,
}

/// Why a result does not become the current token.
enum Unfit {
    /// There is no token.
    Failed(SourceError),
    /// The token is not usable, or no better: what the source gave.
    Token(&'static str),
    /// It is the current one.
    Unchanged,
}

impl State {
    /// Completes a refresh with what the source returned.
    pub(super) fn complete(
        &mut self,
        refresh: &Arc<InFlight>,
        current: Option<&Arc<Entry>>,
        fetched: &Fetched<'_>,
        now: Reading,
        policy: &Policy,
    ) -> Verdict {
        if !self.is_in_flight(refresh) {
            return Verdict::Ignored;
        }
        let described = fetched.described;
        self.note_epoch(fetched.epoch);
        if self.epoch != refresh.epoch {
            return match self.supersede(described, now) {
                None => Verdict::Superseded,
                Some(error) => Verdict::Failed(error),
            };
        }
        let left = current.map(|entry| now.until(entry.schedule.usable_until));
        let left = left.filter(|left| !left.is_zero());
        let is_complaint = refresh.is_complaint && current.is_some_and(|it| it.is_usable(now));
        let accepted = match &fetched.result {
            Err(failure) => Err(Unfit::Failed(failure.clone())),
            Ok(token) if self.was_rejected(token, now) && self.takes_another_try() => {
                return Verdict::AskAgain;
            }
            Ok(token) => self.accept(token, current, fetched.sent, now, policy),
        };
        match accepted {
            Ok(entry) => {
                let replaces_rejected = current.is_some_and(|it| it.is_rejected());
                self.note_published(refresh, &entry, replaces_rejected, now);
                Verdict::Publish(entry)
            }
            Err(Unfit::Unchanged) if is_complaint => {
                // The others' token is good, and nothing is known of its successor.
                self.phase = Phase::Idle;
                Verdict::Unchanged(Error::new(Kind::Unchanged))
            }
            Err(Unfit::Unchanged) => {
                let left = left.unwrap_or_default();
                Verdict::Unchanged(self.wait_for_another(described, left, now))
            }
            Err(Unfit::Token(flaw)) if is_complaint => {
                self.phase = Phase::Idle;
                let failure = SourceError::malformed(format!("{described} gave {flaw}"));
                Verdict::Unchanged(failure.into())
            }
            Err(Unfit::Failed(failure)) => Verdict::Failed(self.back_off(&failure, left, now)),
            Err(Unfit::Token(flaw)) => {
                let failure = SourceError::malformed(format!("{described} gave {flaw}"));
                Verdict::Failed(self.back_off(&failure, left, now))
            }
        }
    }

    /// Fails a refresh whose task panicked. Returns nothing if it is not in flight any more.
    pub(super) fn fail(
        &mut self,
        refresh: &Arc<InFlight>,
        current: Option<&Arc<Entry>>,
        failure: &SourceError,
        now: Reading,
    ) -> Option<Error> {
        if !self.is_in_flight(refresh) {
            return None;
        }
        let left = current.map(|entry| now.until(entry.schedule.usable_until));
        let left = left.filter(|left| !left.is_zero());
        Some(self.back_off(failure, left, now))
    }

    /// Notes that the task of a refresh ended without a result: its runtime is gone. Returns whether that
    /// refresh was still in flight.
    pub(super) fn lose(&mut self, refresh: &Arc<InFlight>) -> bool {
        let is_lost = self.is_in_flight(refresh);
        if is_lost {
            self.phase = Phase::Idle;
        }
        is_lost
    }

    /// Checks whether the fetched token may replace the current one (G20), or else says what is wrong
    /// with it.
    fn accept(
        &mut self,
        token: &Token,
        current: Option<&Arc<Entry>>,
        sent: Reading,
        now: Reading,
        policy: &Policy,
    ) -> Result<Arc<Entry>, Unfit> {
        let schedule = lifetime::lifetime(token, sent, policy)
            .map(|lifetime| Schedule::new(sent, lifetime, policy, self.chance.f64()))
            .filter(|schedule| !schedule.is_expired(now))
            .ok_or(Unfit::Token("a token that has expired already or will within a second: a clock may be wrong, here or there"))?;
        if self.was_rejected(token, now) {
            return Err(Unfit::Token("the token again that was rejected"));
        }
        let same = current.filter(|entry| entry.token.same_secret(token));
        if let Some(entry) = current.filter(|entry| entry.is_usable(now)) {
            // What is left is compared, since the two clocks may have parted since the last refresh.
            let left = now.until(schedule.usable_until);
            let gained = left.saturating_sub(now.until(entry.schedule.usable_until));
            // Where a lifetime comes in whole seconds, the same instant may look up to one later.
            if same.is_some() && gained <= Duration::from_secs(1) {
                return Err(Unfit::Unchanged);
            }
            // A forced refresh may bring other roles, and a changed secret another account.
            let is_new = self.is_forced() || self.epoch != self.published_epoch;
            if !is_new && gained.is_zero() {
                return Err(Unfit::Token(
                    "a token that expires no later than the current one",
                ));
            }
        }
        let generation = match same {
            Some(entry) => entry.generation(),
            None => self.generation + 1,
        };
        let token = token.clone().issued(self.id, generation);
        Ok(Arc::new(Entry::new(token, schedule)))
    }
}
