//! What rejections are evidence of: a dead token, or a target with a complaint of its own (G41). Pure.
//!
//! A rejection is evidence about one request. A target that rejects a generation which somebody else has
//! accepted after that complains for itself: it marks no token, nobody waits for it, and its refreshes come
//! from a budget that all such targets share. So it neither slows anybody's healing nor costs more fetches
//! than an API that rejects everything.

use std::time::Duration;

use crate::clock::Reading;

use super::{
    limit::{Limiter, Limits, doubled},
    target::Target,
};

/// How many targets that rejected a token are known; beyond that the one that was silent longest is
/// forgotten.
const KNOWN: usize = 64;

/// From so many complaining targets on, one more is no news: before it may cost a fetch, nobody may have
/// been accepted for a while.
const CROWD: usize = 6;

/// What a rejection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grounds {
    /// The token, as far as is known.
    Token,
    /// The target alone.
    Complaint,
}

/// The targets that rejected tokens, and what they may still cost.
#[derive(Debug)]
pub(super) struct Evidence {
    limits: Limits,
    /// The budget of those who complain.
    budget: Limiter,
    /// When somebody last complained.
    complained_at: Option<Reading>,
    /// Who was silent longest stands first.
    known: Vec<Known>,
    /// The newest generation that is known to have been accepted.
    accepted: u64,
    /// In a crowd: when the first rejection came after which nobody has been accepted.
    doubt_since: Option<Reading>,
    /// In a crowd: refreshes that its doubts caused since somebody was last accepted.
    doubts: u32,
    /// In a crowd: such refreshes in a row that helped nobody.
    doubts_in_vain: u32,
}

/// A target that rejected a token.
#[derive(Debug)]
struct Known {
    target: Target,
    /// The generation that it rejected last.
    generation: u64,
    /// Somebody else has accepted that generation, or an earlier one, after this target rejected it.
    contradicted: bool,
    /// A refresh began for it that the complaints' budget has not paid for.
    owes: bool,
}

impl Evidence {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            budget: Limiter::empty(limits),
            complained_at: None,
            known: Vec::new(),
            accepted: 0,
            doubt_since: None,
            doubts: 0,
            doubts_in_vain: 0,
        }
    }

    /// Notes that `target` rejected the token of `generation`. Returns what that is about.
    pub(super) fn weigh(
        &mut self,
        target: Option<Target>,
        generation: u64,
        now: Reading,
    ) -> Grounds {
        let Some(target) = target else {
            return Grounds::Token;
        };
        match self.position(target) {
            // The last to reject stands last.
            Some(at) => self.known[at..].rotate_left(1),
            None => {
                self.make_room();
                self.known.push(Known {
                    target,
                    generation,
                    contradicted: false,
                    owes: false,
                });
            }
        }
        if let Some(known) = self.known.last_mut() {
            // It got another token, which others accept, and rejects that too.
            let is_again = known.generation < generation && self.accepted >= generation;
            known.contradicted |= is_again;
            known.generation = generation;
        }
        let grounds = self.grounds(Some(target), now);
        if self.is_crowded() {
            self.doubt_since.get_or_insert(now);
        }
        grounds
    }

    /// What a rejection by `target` is about.
    pub(super) fn grounds(&self, target: Option<Target>, now: Reading) -> Grounds {
        let Some(target) = target else {
            return Grounds::Token;
        };
        let known = self.position(target).map(|at| &self.known[at]);
        let is_complaint = known.is_some_and(|known| known.contradicted)
            || (self.is_crowded() && !self.doubts_for_long(now));
        match is_complaint {
            true => Grounds::Complaint,
            false => Grounds::Token,
        }
    }

    /// Notes that a refresh began because of `target`, although it may turn out to be a complaint.
    pub(super) fn note_refresh_for(&mut self, target: Option<Target>) {
        self.doubt_since = None;
        if self.is_crowded() {
            self.doubts = self.doubts.saturating_add(1);
        }
        if let Some(at) = target.and_then(|target| self.position(target)) {
            self.known[at].owes = true;
        }
    }

    /// Takes a refresh for a complaint, or returns how long until there is one.
    pub(super) fn take(&mut self, now: Reading) -> Result<(), Duration> {
        let rest = self.limits.longest.saturating_mul(2);
        if self.complained_at.is_some_and(|at| now.since(at) > rest) {
            // What was learnt long ago is not held against a target that complains for the first time since.
            self.budget = Limiter::new(self.limits);
        }
        self.complained_at = Some(now);
        self.budget.take(now)?;
        self.budget.judge(false);
        Ok(())
    }

    /// Notes that `target` accepted the token of `generation`, while `in_vain` refreshes in a row had not
    /// helped.
    pub(super) fn note_accepted(
        &mut self,
        target: Option<Target>,
        generation: u64,
        in_vain: u32,
        now: Reading,
    ) {
        let doubt = self.doubt_since.take();
        if doubt.is_some_and(|since| now.since(since) < self.limits.interval) {
            // Others are accepted so often that a crowd's doubts cost nothing.
            self.doubts_in_vain = self.doubts_in_vain.saturating_sub(1);
        }
        self.accepted = self.accepted.max(generation);
        if let Some(at) = target.and_then(|target| self.position(target)) {
            let had_rejected = self.known.remove(at);
            if had_rejected.owes {
                self.doubts = 0;
                self.doubts_in_vain = 0;
            }
        }
        let doubts = std::mem::take(&mut self.doubts);
        self.doubts_in_vain = self.doubts_in_vain.saturating_add(doubts);
        for known in &mut self.known {
            if known.generation != generation {
                continue;
            }
            known.contradicted = true;
            self.budget.at_least_in_vain(in_vain);
            if std::mem::take(&mut known.owes) {
                self.budget.charge(now);
            }
        }
    }

    /// Forgets who was silent longest, if nobody else can be known. Half of the places are for targets that
    /// complain: a crowd of strangers must not make them forgotten.
    fn make_room(&mut self) {
        if self.known.len() < KNOWN {
            return;
        }
        let complaining = self.known.iter().filter(|known| known.contradicted);
        let may_go = complaining.count() > KNOWN / 2;
        let oldest = self.known.iter().position(|it| may_go || !it.contradicted);
        self.known.remove(oldest.unwrap_or_default());
    }

    fn position(&self, target: Target) -> Option<usize> {
        self.known.iter().position(|known| known.target == target)
    }

    fn is_crowded(&self) -> bool {
        let complaining = self.known.iter().filter(|known| known.contradicted);
        complaining.count() >= CROWD
    }

    /// Whether nobody was accepted for so long that a crowd's rejections are about the token.
    fn doubts_for_long(&self, now: Reading) -> bool {
        let range = (self.limits.interval, self.limits.longest);
        let long = doubled(range, self.doubts_in_vain.saturating_add(1));
        self.doubt_since
            .is_some_and(|since| now.since(since) >= long)
    }
}
