mod sending;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, Uri};
use pin_project_lite::pin_project;
use tower_service::Service;

pub(crate) use self::sending::Unsent;
use self::sending::{Again, Next, Rejected};
use super::{
    body::{NotReplayable, ReplayBody},
    layer::Shared,
    stamped::{Stamped, Unhealed},
};
use crate::{
    acquire::Acquire,
    error::BoxError,
    renewal::{Core, Look, Stamp, Want},
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
    // What is behind an `Option` is taken when the state is left.
    #[project = StateProj]
    enum State<S, B, R, F> {
        // Nothing was sent: the request's origin may not see the token.
        Refused { error: Option<BoxError> },
        // Sent without a token of ours, so its response is none of our business (G27, D15).
        Passed { #[pin] response: F },
        // Waits for a token, holding no capacity of the inner service (G39).
        Waiting {
            shared: Arc<Shared>,
            acquire: Acquire,
            // In a box, so that the futures of requests that wait for nothing are half as large.
            next: Option<Box<Next<S, B, R>>>,
        },
        // There is a token; waits until the inner service is ready for the request (D22).
        Readying {
            shared: Arc<Shared>,
            next: Option<Box<Next<S, B, R>>>,
        },
        // Sent, and what is needed to send it again is kept, if it can be.
        Sent {
            shared: Arc<Shared>,
            #[pin] response: F,
            generation: u64,
            sent_to: Option<Uri>,
            want: Want,
            again: Option<Result<Again<S, B>, NotReplayable>>,
        },
        // Sent again, with the token of `generation`. Whatever comes now is the answer (D06).
        SentAgain {
            shared: Arc<Shared>,
            #[pin] response: F,
            generation: u64,
            sent_to: Option<Uri>,
            rejected: u64,
        },
    }
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

    /// Was sent with the token of `generation`, and is not sent again.
    #[inline]
    pub(crate) fn sent_once(
        shared: Arc<Shared>,
        response: S::Future,
        generation: u64,
        sent_to: Option<Uri>,
        want: Want,
    ) -> Self {
        Self::new(State::Sent {
            shared,
            response,
            generation,
            sent_to,
            want,
            again: Some(Err(NotReplayable::TurnedOff)),
        })
    }

    /// Sends the request at once: there is a token, and the service is ready.
    #[inline]
    pub(crate) fn sent(
        shared: Arc<Shared>,
        service: &mut S,
        unsent: Unsent<B>,
        stamp: Stamp,
    ) -> Self
    where
        S: Clone,
    {
        Self::new(unsent.send(shared, service, stamp))
    }

    pub(crate) fn waiting(shared: Arc<Shared>, service: S, unsent: Unsent<B>, look: Look) -> Self {
        let next = Box::new(Next::First { service, unsent });
        Self::new(State::waiting(shared, next, look))
    }
}

impl<S, B, R, F> State<S, B, R, F> {
    fn waiting(shared: Arc<Shared>, next: Box<Next<S, B, R>>, look: Look) -> Self {
        let acquire = Acquire::looked(shared.cache.core().clone(), next.want(), look);
        Self::Waiting {
            shared,
            acquire,
            next: Some(next),
        }
    }

    /// What follows on a rejection: the renewal, or the response if it ends here.
    fn rejected(
        shared: Arc<Shared>,
        generation: u64,
        want: Want,
        again: Result<Again<S, B>, NotReplayable>,
        response: Response<R>,
    ) -> Result<Self, Response<R>> {
        // First the token is rejected, then it is seen whether this request can be sent again: one
        // that cannot still heals the next (G10).
        let acquire = shared.cache.reject_generation(generation, want);
        match again.and_then(|again| again.replay.check().map(|()| again)) {
            Ok(again) => Ok(Self::Waiting {
                shared,
                acquire,
                next: Some(Box::new(Next::Retry(Rejected {
                    generation,
                    response,
                    want,
                    again,
                }))),
            }),
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
    pub(crate) fn place_sent_to(&self, uri: &Uri) -> Option<Uri> {
        self.rules.final_uri.is_some().then(|| uri.clone())
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
{
    type Output = Result<Response<R>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            // Each arm waits for what its state waits for, and then leaves for the next.
            let next = match state.as_mut().project() {
                StateProj::Refused { error } => {
                    return Poll::Ready(Err(error.take().expect(POLLED_AGAIN)));
                }
                StateProj::Passed { response } => return response.poll(cx).map_err(Into::into),
                StateProj::Waiting {
                    shared,
                    acquire,
                    next,
                } => match ready!(Pin::new(acquire).poll(cx)) {
                    Ok(_) => State::Readying {
                        shared: shared.clone(),
                        next: next.take(),
                    },
                    Err(error) => {
                        return Poll::Ready(next.take().expect(POLLED_AGAIN).fail(error));
                    }
                },
                StateProj::Readying { shared, next } => {
                    let service = next.as_mut().expect(POLLED_AGAIN).service();
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let mut next = next.take().expect(POLLED_AGAIN);
                    // The service may have taken its time, so the token is the one that is current
                    // now (G19).
                    match shared.cache.core().look(next.want()) {
                        Look::Serve(token) => match next.send(shared.clone(), token.into()) {
                            Ok(sent) => sent,
                            Err(response) => return Poll::Ready(Ok(response)),
                        },
                        look => {
                            let spare = next.service().clone();
                            *next.service() = spare;
                            State::waiting(shared.clone(), next, look)
                        }
                    }
                }
                StateProj::Sent {
                    shared,
                    response,
                    generation,
                    sent_to,
                    want,
                    again,
                } => {
                    let response = match ready!(response.poll(cx)) {
                        Ok(response) => response,
                        Err(error) => return Poll::Ready(Err(error.into())),
                    };
                    if shared.rules.plainly_takes(&response) {
                        shared.note_taken(&response, *generation);
                        return Poll::Ready(Ok(response));
                    }
                    let (rejects, response) = shared.rules.rejects(response, sent_to.as_ref());
                    if !rejects {
                        shared.note_taken(&response, *generation);
                        let response = match shared.rules.mark_responses {
                            true => Stamped::taken(*generation).onto(response),
                            false => response,
                        };
                        return Poll::Ready(Ok(response));
                    }
                    let again = again.take().expect(POLLED_AGAIN);
                    match State::rejected(shared.clone(), *generation, *want, again, response) {
                        Ok(renewing) => renewing,
                        Err(response) => return Poll::Ready(Ok(response)),
                    }
                }
                StateProj::SentAgain {
                    shared,
                    response,
                    generation,
                    sent_to,
                    rejected,
                } => {
                    let response = ready!(response.poll(cx)).map_err(Into::into)?;
                    let (rejects, response) = shared.rules.rejects(response, sent_to.as_ref());
                    let unhealed = if rejects {
                        shared.cache.core().rejected_again(*generation);
                        Some(Unhealed::RejectedAgain)
                    } else {
                        shared.note_taken(&response, *generation);
                        None
                    };
                    let stamped = Stamped::after_rejection(*generation, *rejected, unhealed);
                    return Poll::Ready(Ok(stamped.onto(response)));
                }
            };
            state.set(next);
        }
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
