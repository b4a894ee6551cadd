//! What becomes of a refresh's result: whether its token is taken, or how long to cool.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    cell::Entry,
    core::Core,
    in_flight::{Completion, InFlight},
    lifetime::{self, Schedule, Standing},
    state::{Phase, State},
};
use crate::{clock::Reading, error::SourceError, observe::Reason, token::Token};

/// After so many refreshes in a row whose secret changed meanwhile it cools.
const MAX_SUPERSEDED: u32 = 3;

/// What becomes of a refresh's result.
pub(crate) enum Verdict {
    Completed,
    /// The source handed out the token that was rejected meanwhile: ask once more.
    AskAgain,
}

impl Core {
    /// Takes a refresh's result: publishes its token, or begins to cool.
    ///
    /// `epoch` is the source's now, and `described` what it calls itself: its code does not run under
    /// the lock, nor again after it has panicked.
    pub(crate) fn complete(
        &self,
        refresh: &Arc<InFlight>,
        sent: Reading,
        result: Result<Token, SourceError>,
        epoch: u64,
        described: &str,
    ) -> Verdict {
        let now = self.clock.now();
        let mut state = self.lock();
        if !state.is_in_flight(refresh) {
            // It was given up; those who waited look elsewhere already.
            return Verdict::Completed;
        }
        state.epoch = state.epoch.max(epoch);
        let completion = if state.epoch != refresh.epoch {
            state.superseded = state.superseded.saturating_add(1);
            if state.superseded < MAX_SUPERSEDED {
                state.phase = Phase::Idle;
                Completion::Abandoned
            } else {
                // Such a source would be asked without end.
                let error = SourceError::transient(format!(
                    "{described} changed its secret during each of the last {MAX_SUPERSEDED} fetches"
                ))
                .with_advice("find out who changes it");
                Completion::Failed(state.cool(error, None, now))
            }
        } else if result
            .as_ref()
            .is_ok_and(|token| state.was_rejected(token, now))
            && state.takes_another_try()
        {
            return Verdict::AskAgain;
        } else {
            let accepted = result.and_then(|token| {
                self.accept(&mut state, token, sent, now)
                    .map_err(|what| SourceError::malformed(format!("{described} gave {what}")))
            });
            match accepted {
                Ok(entry) => {
                    state.published(refresh, &entry, now);
                    // Before anybody can see it.
                    if refresh.reason == Reason::Rejected {
                        self.unjudged.store(entry.generation(), Ordering::Relaxed);
                    }
                    self.cell.publish(entry.clone());
                    Completion::Token(entry)
                }
                Err(error) => {
                    let left = self
                        .cell
                        .read(|entry| entry.map(|entry| now.until(entry.schedule.usable_until)))
                        .filter(|left| !left.is_zero());
                    Completion::Failed(state.cool(error, left, now))
                }
            }
        };
        drop(state);
        refresh.complete(completion.clone());
        self.completed(refresh, &completion, now);
        Verdict::Completed
    }

    /// A refresh whose task ended without a result: its runtime is gone.
    pub(crate) fn lose(&self, refresh: &Arc<InFlight>) {
        let mut state = self.lock();
        if !state.is_in_flight(refresh) {
            return;
        }
        state.phase = Phase::Idle;
        drop(state);
        refresh.complete(Completion::Abandoned);
        self.completed(refresh, &Completion::Abandoned, self.clock.now());
    }

    /// Tells of a completion; not under the lock, since logs and metrics are other people's code.
    pub(super) fn completed(&self, refresh: &InFlight, completion: &Completion, now: Reading) {
        let alive = self
            .cell
            .read(|entry| entry.is_some_and(|entry| !entry.is_expired(now)));
        self.telemetry.completed(refresh, completion, now, alive);
    }

    /// Whether the fetched token may take the place of the current one (G20); else what is wrong with it.
    fn accept(
        &self,
        state: &mut State,
        token: Token,
        sent: Reading,
        now: Reading,
    ) -> Result<Arc<Entry>, &'static str> {
        let policy = &self.settings.lifetime;
        let schedule = lifetime::lifetime(&token, sent, policy)
            .map(|lifetime| Schedule::new(sent, lifetime, policy, state.chance.f64()))
            .filter(|schedule| schedule.standing(now) != Standing::Expired)
            .ok_or("a token that has expired already or will within a second: a clock may be wrong, here or there")?;
        if state.was_rejected(&token, now) {
            return Err("the token again that was rejected");
        }
        let current = self.cell.current();
        let same = current
            .as_ref()
            .filter(|entry| entry.token.same_secret(&token));
        if let Some(entry) = current.as_ref().filter(|entry| entry.is_usable(now)) {
            // What is left is compared, since the clocks may have parted since the last refresh.
            let left = now.until(schedule.usable_until);
            let gained = left.saturating_sub(now.until(entry.schedule.usable_until));
            // Where a lifetime is told in whole seconds, the same instant may look up to one later.
            if same.is_some() && gained <= Duration::from_secs(1) {
                return Err("the current token again, which lives no longer");
            }
            // A forced refresh may bring other roles, and a changed secret another account.
            let is_new = state.is_forced() || state.epoch != state.published_epoch;
            if !is_new && gained.is_zero() {
                return Err("a token that expires no later than the current one");
            }
        }
        let generation = match same {
            Some(entry) => entry.generation(),
            None => state.generation + 1,
        };
        Ok(Arc::new(Entry::new(
            token.with_generation(generation),
            schedule,
        )))
    }
}

#[cfg(test)]
#[cfg(not(tower_bearer_loom))]
mod tests {
    use super::*;
    use crate::{
        clock::{Clock, ManualClock},
        observe::Telemetry,
        refresh::{Look, Settings, Want},
        source::source_fn,
    };

    #[tokio::test]
    async fn a_refresh_that_was_given_up_publishes_nothing() {
        let clock = ManualClock::new();
        let settings = Settings {
            lifetime: lifetime::Policy::default(),
            attempts: 1,
            attempt_timeout: Duration::from_secs(10),
            refresh_timeout: Duration::from_secs(30),
        };
        let core = Arc::new(Core::new(
            Arc::new(source_fn(|_| std::future::pending())),
            Arc::new(clock.clone()),
            settings,
            Telemetry::new("test".into()),
            fastrand::Rng::with_seed(7),
        ));
        let Look::Wait { refresh: first, .. } = core.look(Want::ANY) else {
            panic!("there is no token yet");
        };
        clock.advance(Duration::from_secs(60));
        let Look::Wait {
            refresh: second, ..
        } = core.look(Want::ANY)
        else {
            panic!("there is no token yet");
        };
        assert!(!Arc::ptr_eq(&first, &second));
        // Its task was between the source's answer and the completion when it was given up.
        let complete = |refresh: &Arc<InFlight>, secret: &str| {
            let token = Token::new(secret).map_err(SourceError::from);
            core.complete(refresh, clock.now(), token, 0, "the test")
        };
        complete(&first, "late");
        assert!(core.cell.current().is_none());
        complete(&second, "t1");
        let current = core.cell.current().expect("a token");
        assert_eq!(current.token.expose_secret(), "t1");
    }
}
