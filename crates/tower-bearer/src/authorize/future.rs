use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response, header::AUTHORIZATION, request};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    body::{NotReplayable, Replay, ReplayBody},
    rejection::{Rejection, Unhealed, is_rejection},
};
use crate::{
    acquire::Acquire,
    cache::TokenCache,
    error::{BoxError, Error},
    renewal::{Look, Want},
    token::Token,
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
            cache: TokenCache,
            acquire: Acquire,
            next: Option<Next<S, B, R>>,
        },
        // There is a token; waits until the inner service is ready for the request (D22).
        Readying {
            cache: TokenCache,
            next: Option<Next<S, B, R>>,
        },
        // Sent. `again` is what a retry needs; without it there will be none.
        Sent {
            cache: TokenCache,
            #[pin] response: F,
            generation: u64,
            again: Option<Again<S, B>>,
        },
        // Sent again, with the token of `generation`. Whatever comes now is the answer (D06).
        SentAgain {
            cache: TokenCache,
            #[pin] response: F,
            generation: u64,
            rejected: u64,
        },
    }
}

/// What a future says that is polled once more after it was ready.
const POLLED_AGAIN: &str = "`ResponseFuture` polled after it was ready";

/// What is sent once there is a token.
enum Next<S, B, R> {
    /// The request, for the first time.
    First(Pending<S, B>),
    /// The request again, whose token was rejected. The response that said so is held until it is sent,
    /// since it is the answer if that comes to nothing (D08).
    Retry(Rejected<S, B, R>),
}

/// A request that is not sent yet.
pub(crate) struct Pending<S, B> {
    pub(crate) service: S,
    pub(crate) head: request::Parts,
    pub(crate) body: ReplayBody<B>,
    /// What a retry needs; without it there will be none.
    pub(crate) replay: Option<Replay<B>>,
}

/// What is needed to send a request again.
pub(crate) struct Again<S, B> {
    service: S,
    head: request::Parts,
    replay: Replay<B>,
}

/// A request whose token was rejected, with the response that said so.
struct Rejected<S, B, R> {
    generation: u64,
    response: Response<R>,
    again: Again<S, B>,
}

impl<S, B, R> Next<S, B, R> {
    fn service(&mut self) -> &mut S {
        match self {
            Self::First(pending) => &mut pending.service,
            Self::Retry(rejected) => &mut rejected.again.service,
        }
    }

    /// Which token will do.
    fn want(&self) -> Want {
        match self {
            Self::First(_) => Want::ANY,
            Self::Retry(rejected) => Want::other_than(rejected.generation),
        }
    }

    /// What the caller gets if there is no token.
    fn fail(self, error: Error) -> Result<Response<R>, BoxError> {
        match self {
            Self::First(_) => Err(error.into()),
            Self::Retry(rejected) => {
                let unhealed = Some(Unhealed::NoToken(error));
                Ok(marked(rejected.response, rejected.generation, unhealed))
            }
        }
    }

    /// Stamps the request and sends it; or the response if it cannot be sent again.
    fn send(
        self,
        cache: &TokenCache,
        token: &Token,
    ) -> Result<State<S, B, R, S::Future>, Response<R>>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
    {
        match self {
            Self::First(pending) => Ok(pending.send(cache.clone(), token)),
            Self::Retry(rejected) => rejected.send(cache, token),
        }
    }
}

impl<S, B> Pending<S, B> {
    /// Stamps the request and sends it, with a copy of its head kept if it can be sent again.
    fn send<R>(self, cache: TokenCache, token: &Token) -> State<S, B, R, S::Future>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
    {
        let Self {
            mut service,
            mut head,
            body,
            replay,
        } = self;
        let kept = replay.map(|replay| (replay, head.clone()));
        head.headers.insert(AUTHORIZATION, token.header_value());
        let response = service.call(Request::from_parts(head, body));
        State::Sent {
            cache,
            response,
            generation: token.generation(),
            again: kept.map(|(replay, head)| Again {
                service,
                head,
                replay,
            }),
        }
    }
}

impl<S, B, R> Rejected<S, B, R> {
    /// Takes the body back, lets go of the first response, and sends the request again.
    fn send(
        self,
        cache: &TokenCache,
        token: &Token,
    ) -> Result<State<S, B, R, S::Future>, Response<R>>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
    {
        let Self {
            generation,
            response,
            again,
        } = self;
        let Again {
            mut service,
            mut head,
            replay,
        } = again;
        let body = match replay.take() {
            Ok(body) => body,
            Err(why) => return Err(not_replayed(cache, response, generation, why)),
        };
        drop(response);
        head.headers.insert(AUTHORIZATION, token.header_value());
        let response = service.call(Request::from_parts(head, body));
        cache.core().telemetry.retrying();
        Ok(State::SentAgain {
            cache: cache.clone(),
            response,
            generation: token.generation(),
            rejected: generation,
        })
    }
}

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

    /// Sends the request at once: there is a token, and the service is ready.
    pub(crate) fn sent(cache: TokenCache, pending: Pending<S, B>, token: &Token) -> Self {
        Self::new(pending.send(cache, token))
    }

    pub(crate) fn waiting(cache: TokenCache, pending: Pending<S, B>, look: Look) -> Self {
        Self::new(State::waiting(cache, Next::First(pending), look))
    }
}

impl<S, B, R, F> State<S, B, R, F> {
    fn waiting(cache: TokenCache, next: Next<S, B, R>, look: Look) -> Self {
        let acquire = Acquire::looked(cache.core().clone(), next.want(), look);
        Self::Waiting {
            cache,
            acquire,
            next: Some(next),
        }
    }

    /// What follows on a rejection: the renewal, or the response if it ends here.
    fn rejected(
        cache: TokenCache,
        generation: u64,
        again: Option<Again<S, B>>,
        response: Response<R>,
    ) -> Result<Self, Response<R>> {
        // First the token is rejected, then it is seen whether this request can be sent again: one
        // that cannot still heals the next (G10).
        let acquire = cache.reject_generation(generation);
        let replayable = match &again {
            Some(again) => again.replay.check(),
            None => Err(NotReplayable::TooLarge),
        };
        match (again, replayable) {
            (Some(again), Ok(())) => Ok(Self::Waiting {
                cache,
                acquire,
                next: Some(Next::Retry(Rejected {
                    generation,
                    response,
                    again,
                })),
            }),
            (_, Err(why)) => Err(not_replayed(&cache, response, generation, why)),
            (None, Ok(())) => Err(response),
        }
    }
}

fn not_replayed<R>(
    cache: &TokenCache,
    response: Response<R>,
    generation: u64,
    why: NotReplayable,
) -> Response<R> {
    cache.core().telemetry.replay_refused(why);
    marked(response, generation, Some(Unhealed::NotReplayed(why)))
}

fn marked<R>(mut response: Response<R>, generation: u64, why: Option<Unhealed>) -> Response<R> {
    response
        .extensions_mut()
        .insert(Rejection::new(generation, why));
    response
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
                    cache,
                    acquire,
                    next,
                } => match ready!(Pin::new(acquire).poll(cx)) {
                    Ok(_) => State::Readying {
                        cache: cache.clone(),
                        next: next.take(),
                    },
                    Err(error) => {
                        return Poll::Ready(next.take().expect(POLLED_AGAIN).fail(error));
                    }
                },
                StateProj::Readying { cache, next } => {
                    let service = next.as_mut().expect(POLLED_AGAIN).service();
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let mut next = next.take().expect(POLLED_AGAIN);
                    // The service may have taken its time, so the token is the one that is current
                    // now (G19).
                    match cache.core().look(next.want()) {
                        Look::Serve(token) => match next.send(cache, &token) {
                            Ok(sent) => sent,
                            Err(response) => return Poll::Ready(Ok(response)),
                        },
                        look => {
                            let spare = next.service().clone();
                            *next.service() = spare;
                            State::waiting(cache.clone(), next, look)
                        }
                    }
                }
                StateProj::Sent {
                    cache,
                    response,
                    generation,
                    again,
                } => {
                    let response = ready!(response.poll(cx)).map_err(Into::into)?;
                    if !is_rejection(&response) {
                        cache.core().taken(*generation);
                        return Poll::Ready(Ok(response));
                    }
                    match State::rejected(cache.clone(), *generation, again.take(), response) {
                        Ok(renewing) => renewing,
                        Err(response) => return Poll::Ready(Ok(response)),
                    }
                }
                StateProj::SentAgain {
                    cache,
                    response,
                    generation,
                    rejected,
                } => {
                    let response = ready!(response.poll(cx)).map_err(Into::into)?;
                    let unhealed = if is_rejection(&response) {
                        cache.core().rejected_again(*generation);
                        Some(Unhealed::RejectedAgain)
                    } else {
                        cache.core().taken(*generation);
                        None
                    };
                    return Poll::Ready(Ok(marked(response, *rejected, unhealed)));
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
