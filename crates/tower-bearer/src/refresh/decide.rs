//! The decision: who is served, who waits, who gets an error, and when a refresh begins.
//!
//! It is pure. Whoever calls it reads the clock, takes the lock, and does what [`Effects`] asks for once
//! the lock is released.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Reading,
    error::{Error, Kind},
    observe::Reason,
};

use super::{
    cell::{Entry, Standing},
    evidence::Grounds,
    in_flight::InFlight,
    look::{Look, Want},
    settings::Settings,
    state::{Phase, State},
};

/// The world outside of the state at the time of a look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Reading,
    /// The source's epoch. It is read before the lock is taken, since that runs the source's code.
    pub(super) epoch: u64,
    /// Whether a task can be spawned here.
    pub(super) has_runtime: bool,
}

/// What the caller must do after a decision, once it holds no lock: all of it may run foreign code.
#[derive(Debug, Default)]
#[must_use = "a refresh that is not launched keeps its waiters waiting"]
pub(super) struct Effects {
    /// A refresh has begun: spawn its task.
    pub(super) launch: Option<Arc<InFlight>>,
    /// A refresh is lost, or its secret has changed: end it and wake its waiters.
    pub(super) give_up: Option<Arc<InFlight>>,
    /// Its waiters get this error, because the secret changes during each fetch.
    pub(super) failed: Option<Error>,
    /// The error of a backoff that is over: drop it.
    pub(super) forgotten: Option<Error>,
    /// The token of this generation was rejected just now: report it.
    pub(super) rejected: Option<u64>,
    /// The token of this generation was rejected by a target that complains for itself: report it.
    pub(super) complaint: Option<u64>,
    /// A due token is served: count it.
    pub(super) served_due: bool,
}

impl Effects {
    /// A due token is served, and nothing else happens.
    pub(super) fn served_due() -> Self {
        Self {
            served_due: true,
            ..Self::default()
        }
    }
}

impl State {
    /// Decides what a caller with this want gets.
    pub(super) fn decide(
        &mut self,
        current: Option<&Arc<Entry>>,
        want: Want,
        moment: Moment,
        settings: &Settings,
    ) -> (Look, Effects) {
        let mut effects = Effects::default();
        self.settle(moment, settings, &mut effects);
        self.mark_rejected(current, want, moment.now, &mut effects);
        let look = self.choose(current, want, moment, settings, &mut effects);
        (look, effects)
    }

    /// Returns how long until another look is worth it for somebody who keeps the token fresh.
    pub(super) fn next_look(&self, current: Option<&Arc<Entry>>, now: Reading) -> Duration {
        let limited = || {
            let is_rejected = current.is_some_and(|it| it.is_rejected() && !it.is_expired(now));
            let ready_at = self.limiter.ready_at().filter(|_| is_rejected);
            ready_at.map_or(Duration::ZERO, |at| now.until(at))
        };
        match &self.phase {
            // The caller looks again before long anyway, in case the secret has changed.
            Phase::Backoff { until, .. } => until.map_or(Duration::MAX, |it| now.until(it)),
            // This caller does not wait for the refresh, so it is not woken when that completes.
            Phase::Refreshing { .. } => Duration::from_secs(1),
            Phase::Idle => current
                .filter(|entry| entry.is_usable(now))
                .map_or_else(limited, |entry| now.until(entry.schedule.due)),
        }
    }

    /// Notes the source's epoch, and ends a refresh that is lost or whose secret has changed, and a
    /// backoff that is over.
    fn settle(&mut self, moment: Moment, settings: &Settings, effects: &mut Effects) {
        let Moment { now, epoch, .. } = moment;
        self.note_epoch(epoch);
        let (is_over, is_superseded) = match &self.phase {
            Phase::Idle => (false, false),
            Phase::Refreshing { refresh, .. } => {
                let left = refresh.time_left(now, settings.lost_after());
                let is_superseded = refresh.epoch != self.epoch;
                (is_superseded || left.is_zero(), is_superseded)
            }
            Phase::Backoff { until, epoch, .. } => {
                let has_changed = epoch.is_some_and(|epoch| epoch != self.epoch);
                let is_past = until.is_some_and(|until| now.has_reached(until));
                (is_past || has_changed, false)
            }
        };
        if !is_over {
            return;
        }
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => {}
            Phase::Refreshing { refresh, .. } => effects.give_up = Some(refresh),
            Phase::Backoff { error, .. } => effects.forgotten = Some(error),
        }
        if is_superseded {
            effects.failed = self.supersede("the token source", now);
        }
    }

    /// Marks the token that this caller saw rejected, if it is still the current one (G8) and the rejection
    /// is not the target's own complaint (G41).
    fn mark_rejected(
        &mut self,
        current: Option<&Arc<Entry>>,
        want: Want,
        now: Reading,
        effects: &mut Effects,
    ) {
        let is_it = |entry: &&Arc<Entry>| want.avoid == Some(entry.generation());
        let Some(entry) = current.filter(|entry| want.rejects && is_it(entry)) else {
            return;
        };
        let generation = entry.generation();
        match self.weigh(want, generation, now) {
            Grounds::Complaint => effects.complaint = Some(generation),
            Grounds::Token if entry.mark_rejected() => {
                self.note_rejection(entry);
                effects.rejected = Some(generation);
            }
            Grounds::Token => {}
        }
    }

    fn choose(
        &mut self,
        current: Option<&Arc<Entry>>,
        want: Want,
        moment: Moment,
        settings: &Settings,
        effects: &mut Effects,
    ) -> Look {
        let now = moment.now;
        let standing = current.map(|entry| (entry, entry.standing_for(want, now)));
        let serve = |entry: &Arc<Entry>| Look::Serve(entry.token.clone());
        // What this caller gets where no refresh can be had (G38): a token that others saw rejected, or
        // one that lasts less long than it wants.
        let mut fallback = None;
        match standing {
            Some((entry, Standing::Fresh)) => return serve(entry),
            Some((entry, Standing::Due)) => {
                // It is served whether or not its refresh can begin now (G5).
                effects.served_due = true;
                if matches!(self.phase, Phase::Idle) && moment.has_runtime {
                    effects.launch = Some(self.begin(self.reason(standing), now, 1));
                }
                return serve(entry);
            }
            Some((entry, Standing::Rejected | Standing::Short)) => fallback = Some(entry),
            Some((entry, Standing::Avoided)) if want.refreshed && !entry.is_rejected() => {
                // The refresh that this caller waited for brought the same bytes. Another would too.
                return Look::Fail(Error::new(Kind::Unchanged));
            }
            _ => {}
        }
        let or_fallback = |error: Error| fallback.map_or(Look::Fail(error), serve);
        let refresh = match &self.phase {
            Phase::Refreshing { refresh, .. } => {
                let refresh = refresh.clone();
                if want.force {
                    self.note_force();
                }
                refresh
            }
            Phase::Backoff { until, error, .. } => {
                let left = until.map(|until| now.until(until));
                return or_fallback(error.clone().with_next_try(left));
            }
            Phase::Idle => {
                let reason = self.reason(standing);
                // What was fetched a moment ago is new enough for anybody (G33).
                let new = current.filter(|entry| !entry.is_rejected());
                if reason == Reason::Forced {
                    let until_forced = self.until_forced(now);
                    match new {
                        Some(new) if self.has_just_published(now) || !until_forced.is_zero() => {
                            return serve(new);
                        }
                        None if !until_forced.is_zero() => {
                            let limited = Error::new(Kind::Limited);
                            return Look::Fail(limited.with_next_try(Some(until_forced)));
                        }
                        _ => {}
                    }
                }
                let grounds = self.evidence.grounds(want.target, now);
                if let Err(error) = self.permit(reason, want, grounds, moment) {
                    return or_fallback(error);
                }
                let attempts = match standing {
                    None | Some((_, Standing::Expired)) => settings.attempts,
                    Some(_) => 1,
                };
                let refresh = match reason {
                    Reason::Rejected => self.begin_for(reason, now, attempts, grounds),
                    _ => self.begin(reason, now, attempts),
                };
                effects.launch = Some(refresh.clone());
                refresh
            }
        };
        if effects.rejected.is_some() {
            self.expect_replacement(now);
        }
        let mut at_most = refresh.time_left(now, settings.lost_after());
        if let Some((entry, Standing::Rejected)) = standing {
            // Others wait for its first replacement only, and not for long (G38).
            match self.replacement_wait {
                Some(until) if !now.has_reached(until) => at_most = at_most.min(now.until(until)),
                _ => {
                    self.replacement_wait = None;
                    return serve(entry);
                }
            }
        }
        Look::Wait {
            refresh,
            at_most,
            fallback: fallback.is_some(),
        }
    }

    /// Why a refresh begins now, where the current token stands like this for the caller.
    fn reason(&self, standing: Option<(&Arc<Entry>, Standing)>) -> Reason {
        let Some((_, standing)) = standing else {
            return Reason::Initial;
        };
        if self.epoch != self.published_epoch {
            return Reason::SecretChanged;
        }
        match standing {
            Standing::Expired => Reason::Expired,
            Standing::Unwanted => Reason::Forced,
            Standing::Avoided | Standing::Rejected => Reason::Rejected,
            Standing::Short | Standing::Due | Standing::Fresh => Reason::Ahead,
        }
    }

    /// Whether a refresh may begin for this reason, here and now.
    fn permit(
        &mut self,
        reason: Reason,
        want: Want,
        grounds: Grounds,
        moment: Moment,
    ) -> Result<(), Error> {
        if !moment.has_runtime {
            return Err(Error::new(Kind::NoRuntime));
        }
        if reason != Reason::Rejected {
            return Ok(());
        }
        let taken = match grounds {
            Grounds::Token => self.limiter.take(moment.now),
            Grounds::Complaint => self.evidence.take(moment.now),
        };
        taken.map_err(|wait| Error::new(Kind::Limited).with_next_try(Some(wait)))?;
        if grounds == Grounds::Token {
            self.evidence.note_refresh_for(want.target);
        }
        Ok(())
    }
}
