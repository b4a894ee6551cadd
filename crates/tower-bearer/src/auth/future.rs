mod sending;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, Uri};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

pub(crate) use self::sending::{Kept, Sending, Sent, Unsent};
use self::sending::{Next, Rejected};
use super::{
    body::{NotReplayable, ReplayBody},
    layer::Shared,
    outcome::{AuthOutcome, NotRetried},
    rejection::is_rejection,
};
use crate::{
    error::BoxError,
    refresh::{Acquire, Core, Look, Want},
    registry::CacheNumber,
};

pin_project! {
    /// The response of [`BearerAuth`](super::BearerAuth).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the request. A refresh that it waited for goes on, and its token is cached.
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
    {
        #[pin]
        pub(super) state: State<S, B, R, S::Future>,
    }
}

pin_project! {
    // What is behind an `Option` is taken when the state is left. What only few requests need is in a box,
    // so that the futures of all others are small: each layer around this one moves them.
    #[project = StateProj]
    pub(super) enum State<S, B, R, F> {
        // Nothing was sent: the request's origin may not see the token.
        Refused { error: Option<BoxError> },
        // Waits for a token, holding no capacity of the inner service (G39).
        Waiting { waiting: Option<Box<Waiting<S, B, R>>> },
        // There is a token; waits until the inner service is ready for the request (D22).
        Readying { waiting: Option<Box<Waiting<S, B, R>>> },
        Sent {
            #[pin] response: F,
            sent: Sent<S, B>,
        },
    }
}

/// A request that waits for a token, and then for the service.
struct Waiting<S, B, R> {
    shared: Arc<Shared<S>>,
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

    pub(crate) fn waiting(shared: Arc<Shared<S>>, unsent: Unsent<S, B>, look: Look) -> Self {
        Self::new(State::waiting(shared, Next::First(unsent), look))
    }
}

impl<S, B, R, F> State<S, B, R, F> {
    fn waiting(shared: Arc<Shared<S>>, next: Next<S, B, R>, look: Look) -> Self {
        let acquire = Acquire::looked(shared.layer.cache.core().clone(), next.want(), look);
        Self::Waiting {
            waiting: Some(Box::new(Waiting {
                shared,
                acquire,
                next,
            })),
        }
    }

    /// What follows on a rejection: the refresh, or the response if it ends here.
    fn rejected(kept: Kept<S, B>, response: Response<R>) -> Result<Self, Response<R>>
    where
        S: Clone,
    {
        let Kept {
            shared,
            generation,
            remaining,
            rejected,
            again,
            ..
        } = kept;
        // Whatever comes the second time is the answer (D06).
        if let Some(rejected) = rejected {
            shared.layer.cache.core().rejected_again(generation);
            let not_retried = Some(NotRetried::RejectedAgain);
            return Err(
                AuthOutcome::after_rejection(generation, rejected, not_retried).onto(response),
            );
        }
        // First the token is rejected, then it is seen whether this request can be sent again: one
        // that cannot still heals the next (G10).
        let acquire = shared
            .layer
            .cache
            .reject_generation(generation, Want::lasting(remaining));
        match again.and_then(|again| again.replay.check().map(|()| again)) {
            Ok(again) => {
                let next = Next::Retry(Rejected {
                    generation,
                    response,
                    remaining,
                    service: shared.spare(),
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
            Err(why) => Err(not_replayed(
                shared.layer.cache.core(),
                response,
                generation,
                why,
            )),
        }
    }
}

fn not_replayed<R>(
    core: &Core,
    response: Response<R>,
    generation: u64,
    why: NotReplayable,
) -> Response<R> {
    core.telemetry.replay_refused(why.as_str());
    AuthOutcome::not_retried_because(generation, NotRetried::NotReplayed(why)).onto(response)
}

impl<S> Shared<S> {
    /// Where a request goes, if it will be asked whether the answer came from there.
    fn place_sent_to(&self, uri: &Uri) -> Option<Box<Uri>> {
        let is_asked = self.layer.rules.final_uri.is_some();
        is_asked.then(|| Box::new(uri.clone()))
    }

    /// Notes that a server took a token: it answered, and with no failure of its own.
    fn note_taken<R>(&self, response: &Response<R>, generation: u64) {
        if !response.status().is_server_error() {
            self.layer.cache.core().taken(generation);
        }
    }
}

impl<S, B> Sent<S, B> {
    /// Whether a response is the answer without a further look.
    #[inline]
    fn ends_with<R>(&self, response: &Response<R>) -> bool {
        let kept = match self {
            // Without a token of ours its response is none of our business (G27, D15).
            Self::Once { generation, .. } => {
                return generation.is_none() || !is_rejection(response);
            }
            Self::Kept(kept) => kept,
        };
        let takes = kept.rejected.is_none() && kept.shared.layer.rules.plainly_takes(response);
        if takes {
            kept.shared.note_taken(response, kept.generation);
        }
        takes
    }
}

/// What becomes of the rejection of a request that was sent once: it heals the next (G10).
fn rejected_once<R>(response: Response<R>, cache: CacheNumber, generation: u64) -> Response<R> {
    let why = NotReplayable::TurnedOff;
    match cache.find() {
        Some(core) => {
            // Nobody waits for what follows.
            let _refreshing = core.reject(generation, Want::ANY);
            not_replayed(&core, response, generation, why)
        }
        None => AuthOutcome::not_retried_because(generation, NotRetried::NotReplayed(why))
            .onto(response),
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body,
{
    type Output = Result<Response<R>, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        // Nearly all futures are only ever in this state, and end here.
        if let StateProj::Sent { response, sent } = state.as_mut().project() {
            let response = match response.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Ready(Ok(response)) => response,
            };
            if sent.ends_with(&response) {
                return Poll::Ready(Ok(response));
            }
            return state.answered(response, cx);
        }
        state.poll_closely(cx)
    }
}

impl<S, B, R> State<S, B, R, S::Future>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body,
{
    /// What becomes of a response that may be a rejection: another state, or the answer.
    #[inline(never)]
    fn look_closely(sent: Sent<S, B>, response: Response<R>) -> Result<Self, Response<R>> {
        let kept = match sent {
            Sent::Once { cache, generation } => {
                return Err(match generation {
                    Some(generation) => rejected_once(response, cache, generation.get()),
                    None => response,
                });
            }
            Sent::Kept(kept) => *kept,
        };
        let rules = &kept.shared.layer.rules;
        let (rejects, response) = rules.rejects(response, kept.sent_to.as_deref());
        if rejects {
            return Self::rejected(kept, response);
        }
        kept.shared.note_taken(&response, kept.generation);
        let stamped = match kept.rejected {
            Some(rejected) => AuthOutcome::after_rejection(kept.generation, rejected, None),
            None if kept.shared.layer.rules.mark_responses => AuthOutcome::taken(kept.generation),
            None => return Err(response),
        };
        Err(stamped.onto(response))
    }

    /// Goes on from a response that may be a rejection.
    #[inline(never)]
    fn answered(
        mut self: Pin<&mut Self>,
        response: Response<R>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<R>, BoxError>> {
        if let StateProj::Sent { sent, .. } = self.as_mut().project() {
            match State::look_closely(sent.take(), response) {
                Ok(refreshing) => self.set(refreshing),
                Err(response) => return Poll::Ready(Ok(response)),
            }
        }
        self.poll_closely(cx)
    }

    /// Polls in any state.
    #[inline(never)]
    fn poll_closely(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<R>, BoxError>> {
        loop {
            // Each arm waits for what its state waits for, and then leaves for the next.
            let next = match self.as_mut().project() {
                StateProj::Refused { error } => {
                    return Poll::Ready(Err(error.take().expect(POLLED_AGAIN)));
                }
                StateProj::Waiting { waiting } => {
                    let acquire = &mut waiting.as_mut().expect(POLLED_AGAIN).acquire;
                    let acquired = ready!(Pin::new(acquire).poll(cx));
                    let waiting = waiting.take().expect(POLLED_AGAIN);
                    match acquired {
                        Ok(_) => State::Readying {
                            waiting: Some(waiting),
                        },
                        Err(error) => return Poll::Ready(waiting.next.fail(error)),
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
                    match shared.layer.cache.core().look(next.want()) {
                        Look::Serve(token) => match next.send(shared, token.into()) {
                            Ok(sent) => sent,
                            Err(response) => return Poll::Ready(Ok(response)),
                        },
                        look => {
                            let spare = next.service().clone();
                            *next.service() = spare;
                            State::waiting(shared, next, look)
                        }
                    }
                }
                StateProj::Sent { response, sent } => {
                    let response = ready!(response.poll(cx)).map_err(Into::into)?;
                    if sent.ends_with(&response) {
                        return Poll::Ready(Ok(response));
                    }
                    match State::look_closely(sent.take(), response) {
                        Ok(refreshing) => refreshing,
                        Err(response) => return Poll::Ready(Ok(response)),
                    }
                }
            };
            self.set(next);
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
