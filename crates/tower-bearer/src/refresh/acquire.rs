//! The future that waits for a token.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    clock::Sleep,
    error::{Error, Kind},
    token::Token,
};

use super::{
    core::Core,
    in_flight::Waiter,
    look::{Look, Want},
    wait_list::Completion,
};

/// After so many refreshes that ended without a token for a caller, its runtime must be at fault.
const LOST_REFRESHES: u32 = 10;

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
    },
}

impl Acquire {
    pub(crate) fn new(core: Arc<Core>, want: Want) -> Self {
        Self {
            core,
            want,
            stage: Stage::Looking,
            lost: 0,
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
    fn woken(&mut self, completion: Completion, fallback: bool) -> Result<(), Error> {
        match completion {
            Completion::Refreshed => self.want = self.want.after_refresh(),
            Completion::Failed(error) if !fallback && !self.core.has_usable(self.want) => {
                return Err(error);
            }
            Completion::Failed(_) | Completion::Abandoned => {}
        }
        self.lost += 1;
        Ok(())
    }
}

impl Future for Acquire {
    type Output = Result<Token, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match std::mem::replace(&mut this.stage, Stage::Looking) {
                Stage::Looking => this.stage = Stage::Looked(this.core.look(this.want)),
                Stage::Looked(Look::Serve(token)) => return Poll::Ready(Ok(token)),
                Stage::Looked(Look::Fail(error)) => return Poll::Ready(Err(error)),
                Stage::Looked(Look::Wait { .. }) if this.lost == LOST_REFRESHES => {
                    return Poll::Ready(Err(Error::new(Kind::NoRuntime)));
                }
                Stage::Looked(Look::Wait {
                    refresh,
                    at_most,
                    fallback,
                }) => {
                    this.core.telemetry.waiting();
                    let timer = match this.core.sleep(at_most) {
                        Ok(timer) => timer,
                        Err(error) => return Poll::Ready(Err(error)),
                    };
                    this.stage = Stage::Waiting {
                        waiter: Waiter::new(refresh),
                        timer,
                        fallback,
                    };
                }
                Stage::Waiting {
                    mut waiter,
                    mut timer,
                    fallback,
                } => match Pin::new(&mut waiter).poll(cx) {
                    Poll::Ready(completion) => {
                        if let Err(error) = this.woken(completion, fallback) {
                            return Poll::Ready(Err(error));
                        }
                    }
                    Poll::Pending if timer.as_mut().poll(cx).is_ready() => {}
                    Poll::Pending => {
                        this.stage = Stage::Waiting {
                            waiter,
                            timer,
                            fallback,
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
