mod sending;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response, Uri};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use self::sending::{Again, Next, Rejected};
pub(crate) use self::sending::{Sending, Unsent};
use super::{
    body::{NotReplayable, ReplayBody},
    layer::Shared,
    stamped::{Stamped, Unhealed},
};
use crate::{
    acquire::Acquire,
    error::BoxError,
    renewal::{Core, Look, Want},
};

pin_project! {
    /// The response of [`Authorize`](super::Authorize).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the request. A flight that it waited for goes on, and its token is cached.
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
    {
        #[pin]
        state: State<S, B, R, S::Future>,
    }
}

pin_project! {
    // What is behind an `Option` is taken when the state is left. What only few requests need is in a box,
    // so that the futures of all others are small: each layer around this one moves them.
    #[project = StateProj]
    enum State<S, B, R, F> {
        // Nothing was sent: the request's origin may not see the token.
        Refused { error: Option<BoxError> },
        // Sent without a token of ours, so its response is none of our business (G27, D15).
        Passed { #[pin] response: F },
        // Waits for a token, holding no capacity of the inner service (G39).
        Waiting { waiting: Option<Box<Waiting<S, B, R>>> },
        // There is a token; waits until the inner service is ready for the request (D22).
        Readying { waiting: Option<Box<Waiting<S, B, R>>> },
        // Sent, and what is needed to send it again is kept, if it can be.
        Sent {
            shared: Arc<Shared>,
            #[pin] response: F,
            generation: u64,
            kept: Option<Box<Kept<S, B>>>,
        },
        // Sent again, with the token of `generation`. Whatever comes now is the answer (D06).
        SentAgain {
            shared: Arc<Shared>,
            #[pin] response: F,
            generation: u64,
            first: Box<First>,
        },
    }
}

/// What is known of a request that was sent, beyond its token.
struct Kept<S, B> {
    sent_to: Option<Box<Uri>>,
    remaining: Duration,
    again: Result<Again<S, B>, NotReplayable>,
}

/// What is known of a request that was sent again.
struct First {
    sent_to: Option<Box<Uri>>,
    rejected: u64,
}

/// A request that waits for a token, and then for the service.
struct Waiting<S, B, R> {
    shared: Arc<Shared>,
    acquire: Acquire,
    next: Next<S, B, R>,
}

/// What a future says that is polled once more after it was ready.
const POLLED_AGAIN: &str = "`ResponseFuture` polled after it was ready";

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
{
    fn new(state: State<S, B, R, S::Future>) -> Self {
        Self { state }
    }

    pub(crate) fn refused(error: BoxError) -> Self {
        Self::new(State::Refused { error: Some(error) })
    }

    pub(crate) fn passed(response: S::Future) -> Self {
        Self::new(State::Passed { response })
    }

    pub(crate) fn waiting(shared: Arc<Shared>, unsent: Unsent<S, B>, look: Look) -> Self {
        Self::new(State::waiting(shared, Next::First(unsent), look))
    }
}

impl<S, B, R, F> State<S, B, R, F> {
    fn waiting(shared: Arc<Shared>, next: Next<S, B, R>, look: Look) -> Self {
        let acquire = Acquire::looked(shared.cache.core().clone(), next.want(), look);
        Self::Waiting {
            waiting: Some(Box::new(Waiting {
                shared,
                acquire,
                next,
            })),
        }
    }

    /// What follows on a rejection: the renewal, or the response if it ends here.
    fn rejected(
        shared: Arc<Shared>,
        generation: u64,
        kept: Option<Box<Kept<S, B>>>,
        response: Response<R>,
    ) -> Result<Self, Response<R>> {
        let (remaining, again) = match kept {
            Some(kept) => (kept.remaining, kept.again),
            None => (Duration::ZERO, Err(NotReplayable::TurnedOff)),
        };
        // First the token is rejected, then it is seen whether this request can be sent again: one
        // that cannot still heals the next (G10).
        let acquire = shared
            .cache
            .reject_generation(generation, Want::lasting(remaining));
        match again.and_then(|again| again.replay.check().map(|()| again)) {
            Ok(again) => {
                let next = Next::Retry(Rejected {
                    generation,
                    response,
                    remaining,
                    again,
                });
                Ok(Self::Waiting {
                    waiting: Some(Box::new(Waiting {
                        shared,
                        acquire,
                        next,
                    })),
                })
            }
            Err(why) => Err(not_replayed(shared.cache.core(), response, generation, why)),
        }
    }
}

fn not_replayed<R>(
    core: &Core,
    response: Response<R>,
    generation: u64,
    why: NotReplayable,
) -> Response<R> {
    core.telemetry.replay_refused(why);
    Stamped::unhealed_by(generation, Unhealed::NotReplayed(why)).onto(response)
}

impl Shared {
    /// Where a request goes, if it will be asked whether the answer came from there.
    #[inline]
    pub(crate) fn place_sent_to(&self, uri: &Uri) -> Option<Box<Uri>> {
        self.rules.final_uri?;
        Some(Box::new(uri.clone()))
    }

    /// Whether a response, without a further look, is the answer, since the token was taken.
    #[inline]
    fn takes_plainly<R>(&self, response: &Response<R>, generation: u64) -> bool {
        let takes = self.rules.plainly_takes(response);
        if takes {
            self.note_taken(response, generation);
        }
        takes
    }

    /// Notes that a server took a token: it answered, and with no failure of its own.
    fn note_taken<R>(&self, response: &Response<R>, generation: u64) {
        if !response.status().is_server_error() {
            self.cache.core().taken(generation);
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body,
{
    type Output = Result<Response<R>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            // Nearly all futures are only ever in this state, and end here.
            if let StateProj::Sent {
                shared,
                response,
                generation,
                ..
            } = state.as_mut().project()
            {
                let answer = ready!(response.poll(cx));
                let ends = match &answer {
                    Ok(response) => shared.takes_plainly(response, *generation),
                    Err(_) => true,
                };
                if ends {
                    return Poll::Ready(answer.map_err(Into::into));
                }
                if let Ok(response) = answer {
                    if let Some(response) = state.as_mut().look_closely(response) {
                        return Poll::Ready(Ok(response));
                    }
                }
            } else if let Some(output) = ready!(state.as_mut().poll_others(cx)) {
                return Poll::Ready(output);
            }
        }
    }
}

impl<S, B, R> State<S, B, R, S::Future>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body,
{
    /// What becomes of a response that may be a rejection: the answer, or another state.
    #[inline(never)]
    fn look_closely(mut self: Pin<&mut Self>, response: Response<R>) -> Option<Response<R>> {
        let StateProj::Sent {
            shared,
            generation,
            kept,
            ..
        } = self.as_mut().project()
        else {
            return Some(response);
        };
        let sent_to = kept.as_ref().and_then(|kept| kept.sent_to.as_deref());
        let (rejects, response) = shared.rules.rejects(response, sent_to);
        if !rejects {
            shared.note_taken(&response, *generation);
            return Some(match shared.rules.mark_responses {
                true => Stamped::taken(*generation).onto(response),
                false => response,
            });
        }
        match Self::rejected(shared.clone(), *generation, kept.take(), response) {
            Ok(renewing) => {
                self.set(renewing);
                None
            }
            Err(response) => Some(response),
        }
    }

    /// Polls in any other state than `Sent`: the output, or nothing if there is another state now.
    #[inline(never)]
    fn poll_others(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Response<R>, BoxError>>> {
        // Each arm waits for what its state waits for, and then leaves for the next.
        let next = match self.as_mut().project() {
            StateProj::Refused { error } => {
                return Poll::Ready(Some(Err(error.take().expect(POLLED_AGAIN))));
            }
            StateProj::Passed { response } => {
                return response.poll(cx).map(|it| Some(it.map_err(Into::into)));
            }
            StateProj::Waiting { waiting } => {
                let acquire = &mut waiting.as_mut().expect(POLLED_AGAIN).acquire;
                let acquired = ready!(Pin::new(acquire).poll(cx));
                let waiting = waiting.take().expect(POLLED_AGAIN);
                match acquired {
                    Ok(_) => State::Readying {
                        waiting: Some(waiting),
                    },
                    Err(error) => return Poll::Ready(Some(waiting.next.fail(error))),
                }
            }
            StateProj::Readying { waiting } => {
                let service = waiting.as_mut().expect(POLLED_AGAIN).next.service();
                ready!(service.poll_ready(cx)).map_err(Into::into)?;
                let Waiting {
                    shared, mut next, ..
                } = *waiting.take().expect(POLLED_AGAIN);
                // The service may have taken its time, so the token is the one that is current
                // now (G19).
                match shared.cache.core().look(next.want()) {
                    Look::Serve(token) => match next.send(shared, token.into()) {
                        Ok(sent) => sent.state,
                        Err(response) => return Poll::Ready(Some(Ok(response))),
                    },
                    look => {
                        let spare = next.service().clone();
                        *next.service() = spare;
                        State::waiting(shared, next, look)
                    }
                }
            }
            StateProj::Sent { .. } => return Poll::Ready(None),
            StateProj::SentAgain {
                shared,
                response,
                generation,
                first,
            } => {
                let response = ready!(response.poll(cx)).map_err(Into::into)?;
                let (rejects, response) = shared.rules.rejects(response, first.sent_to.as_deref());
                let unhealed = if rejects {
                    shared.cache.core().rejected_again(*generation);
                    Some(Unhealed::RejectedAgain)
                } else {
                    shared.note_taken(&response, *generation);
                    None
                };
                let stamped = Stamped::after_rejection(*generation, first.rejected, unhealed);
                return Poll::Ready(Some(Ok(stamped.onto(response))));
            }
        };
        self.set(next);
        Poll::Ready(None)
    }
}

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
