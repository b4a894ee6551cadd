//! The future that waits for a token.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    clock::{Reading, Sleep},
    error::{Error, Kind, SourceError},
    token::Token,
};

use super::{
    core::Core,
    fetching::{self, Asked},
    in_flight::Waiter,
    look::{Look, Want},
    wait_list::Completion,
};

/// After so many refreshes that ended without a token for a caller, its runtime must be at fault.
const LOST_REFRESHES: u32 = 10;

/// The refresh that a caller waits for ends by itself within its time-out; this is for what comes after.
const GRACE: Duration = Duration::from_secs(1);

/// A token that is on its way: what [`TokenCache`](crate::TokenCache)'s methods return.
///
/// # Cancel safety
///
/// Dropping it at any time loses nothing: the refresh that it waits for goes on, and its token is
/// cached.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire {
    core: Arc<Core>,
    want: Want,
    stage: Stage,
    /// Refreshes that it waited for in vain.
    lost: u32,
    /// Whose bytes it never returns, whatever their generation.
    rejected: Option<Token>,
    /// When a caller whose token was rejected has waited for long enough.
    deadline: Option<Reading>,
    /// The fetch of this cache within which it was made.
    within: Option<Asked>,
}

/// What an [`Acquire`] does next.
enum Stage {
    /// Look for a token.
    Looking,
    /// Return, or wait for, what the look found.
    Looked(Look),
    /// Wait for a refresh, but not longer than the timer; then look again.
    Waiting {
        waiter: Waiter,
        timer: Sleep,
        fallback: bool,
        /// The generation that was current when the wait began.
        seen: u64,
    },
}

impl Acquire {
    pub(crate) fn new(core: Arc<Core>, want: Want) -> Self {
        let within = fetching::current(core.id);
        Self {
            core,
            want,
            stage: Stage::Looking,
            lost: 0,
            rejected: None,
            deadline: None,
            within,
        }
    }

    /// The same, which never returns these bytes: a server rejected them.
    pub(crate) fn other_than(self, rejected: &Token) -> Self {
        Self {
            rejected: Some(rejected.clone()),
            ..self
        }
    }

    /// Makes one that starts with what a look has found already.
    pub(crate) fn looked(core: Arc<Core>, want: Want, look: Look) -> Self {
        Self {
            stage: Stage::Looked(look),
            ..Self::new(core, want)
        }
    }

    /// Notes how the refresh ended. Whoever waited looks again, and is served what is current then, which
    /// may be newer than what this refresh brought. Only its error is handed on as it is: another look
    /// could find the backoff over, and begin another refresh (A02).
    fn woken(&mut self, completion: Completion, fallback: bool, seen: u64) -> Result<(), Error> {
        match completion {
            Completion::Refreshed => self.want = self.want.after_refresh(),
            // It was polled late: a later refresh has brought a token (L31).
            Completion::Failed(_) if self.core.has_newer(seen) => {
                self.want = self.want.after_refresh();
            }
            Completion::Failed(error) if !fallback && !self.core.has_usable(self.want) => {
                return Err(error);
            }
            Completion::Failed(_) | Completion::Abandoned => {}
        }
        self.lost += 1;
        Ok(())
    }

    /// Whether what was looked up before this poll no longer holds.
    fn is_outdated(&self, look: &Look) -> bool {
        match look {
            Look::Serve(token) => !self.core.still_serves(token, self.want),
            Look::Fail(_) => self.core.has_usable(self.want),
            Look::Wait { .. } => false,
        }
    }

    /// Notes that a fetch waits for itself. Returns whether that is so.
    fn waits_for_itself(&self) -> bool {
        let within = self
            .within
            .clone()
            .or_else(|| fetching::current(self.core.id));
        within.inspect(Asked::note).is_some()
    }

    /// For how long a caller whose token was rejected waits for another: one attempt, and a moment more
    /// where the refresh has but one, whose own error says more (L32).
    fn time_left(&mut self, attempts: u32, at_most: Duration) -> Duration {
        if !self.want.is_after_rejection() {
            return at_most;
        }
        let now = self.core.clock.now();
        let settings = &self.core.settings;
        let grace = if attempts == 1 { GRACE } else { Duration::ZERO };
        let deadline = now + settings.attempt_timeout.saturating_add(grace);
        let deadline = *self.deadline.get_or_insert(deadline);
        at_most.min(now.until(deadline))
    }

    /// The error of a caller that has waited for long enough.
    fn timed_out(&self) -> Error {
        let secs = self.core.settings.attempt_timeout.as_secs_f64();
        SourceError::new(
            Kind::TimedOut,
            format!("no other token came within {secs} s after the last one was rejected"),
        )
        .with_advice("check that the token endpoint is up and in reach")
        .into()
    }
}

impl Future for Acquire {
    type Output = Result<Token, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if matches!(&this.stage, Stage::Looked(look) if this.is_outdated(look)) {
            this.stage = Stage::Looking;
        }
        loop {
            match std::mem::replace(&mut this.stage, Stage::Looking) {
                Stage::Looking => this.stage = Stage::Looked(this.core.look(this.want)),
                Stage::Looked(Look::Serve(token)) => {
                    let is_same = |rejected: &Token| rejected.same_secret(&token);
                    return Poll::Ready(match this.rejected.as_ref().is_some_and(is_same) {
                        true => Err(Error::new(Kind::Unchanged)),
                        false => Ok(token),
                    });
                }
                Stage::Looked(Look::Fail(error)) => return Poll::Ready(Err(error)),
                Stage::Looked(Look::Wait { .. }) if this.waits_for_itself() => {
                    return Poll::Ready(Err(Error::new(Kind::Reentrant)));
                }
                Stage::Looked(Look::Wait { .. }) if this.lost == LOST_REFRESHES => {
                    return Poll::Ready(Err(Error::new(Kind::NoRuntime)));
                }
                Stage::Looked(Look::Wait {
                    refresh,
                    at_most,
                    fallback,
                }) => {
                    this.core.telemetry.waiting();
                    let at_most = this.time_left(refresh.attempts, at_most);
                    this.stage = Stage::Waiting {
                        timer: this.core.sleep(at_most),
                        waiter: Waiter::new(refresh),
                        fallback,
                        seen: this.core.generation(),
                    };
                }
                Stage::Waiting {
                    mut waiter,
                    mut timer,
                    fallback,
                    seen,
                } => match Pin::new(&mut waiter).poll(cx) {
                    Poll::Ready(completion) => {
                        if let Err(error) = this.woken(completion, fallback, seen) {
                            return Poll::Ready(Err(error));
                        }
                    }
                    Poll::Pending if timer.as_mut().poll(cx).is_ready() => {
                        let now = this.core.clock.now();
                        if this.deadline.is_some_and(|it| now.has_reached(it)) && !fallback {
                            return Poll::Ready(Err(this.timed_out()));
                        }
                    }
                    Poll::Pending => {
                        this.stage = Stage::Waiting {
                            waiter,
                            timer,
                            fallback,
                            seen,
                        };
                        return Poll::Pending;
                    }
                },
            }
        }
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").finish_non_exhaustive()
    }
}
