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
    in_flight::{Completion, Waiter},
    look::{Look, Want},
};

/// After so many refreshes that were of no use to a caller, its runtime must be at fault.
const LOST_REFRESHES: u32 = 10;

/// A token that is on its way: what [`TokenCache`](crate::TokenCache)'s methods return.
///
/// # Cancel safety
///
/// Dropping it at any time loses nothing: the refresh that it waits for goes on and its token is
/// cached.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire {
    core: Arc<Core>,
    want: Want,
    stage: Stage,
    lost: u32,
}

enum Stage {
    /// Has not looked since it was made, or since what it waited for ended.
    Looking,
    /// Knows the answer already.
    Looked(Look),
    /// Waits for a refresh, but not longer than the timer.
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

    /// One that has looked already.
    pub(crate) fn looked(core: Arc<Core>, want: Want, look: Look) -> Self {
        Self {
            stage: Stage::Looked(look),
            ..Self::new(core, want)
        }
    }
}

impl Future for Acquire {
    type Output = Result<Token, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if this.lost == LOST_REFRESHES {
                return Poll::Ready(Err(Error::new(Kind::NoRuntime)));
            }
            match std::mem::replace(&mut this.stage, Stage::Looking) {
                Stage::Looking => this.stage = Stage::Looked(this.core.look(this.want)),
                Stage::Looked(Look::Serve(token)) => return Poll::Ready(Ok(token)),
                Stage::Looked(Look::Fail(error)) => return Poll::Ready(Err(error)),
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
                    Poll::Ready(Completion::Token(entry)) => {
                        // A machine may have slept between the completion and this poll (C01), or the
                        // rejected token have come again after its end.
                        if this.want.may_have(&entry) && !entry.is_expired(this.core.clock.now()) {
                            return Poll::Ready(Ok(entry.token.clone()));
                        }
                        this.lost += 1;
                    }
                    Poll::Ready(Completion::Failed(error)) if !fallback => {
                        return Poll::Ready(Err(error));
                    }
                    Poll::Ready(Completion::Failed(_)) => {}
                    Poll::Ready(Completion::Abandoned) => this.lost += 1,
                    Poll::Pending => {
                        if timer.as_mut().poll(cx).is_pending() {
                            this.stage = Stage::Waiting {
                                waiter,
                                timer,
                                fallback,
                            };
                            return Poll::Pending;
                        }
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
