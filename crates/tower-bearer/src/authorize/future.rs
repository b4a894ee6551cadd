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
    error::BoxError,
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
            pending: Option<Pending<S, B>>,
        },
        // There is a token; waits until the inner service is ready for the request (D22).
        Readying {
            cache: TokenCache,
            pending: Option<Pending<S, B>>,
        },
        // Sent. `again` is what a retry needs; without it there will be none.
        Sent {
            cache: TokenCache,
            #[pin] response: F,
            generation: u64,
            again: Option<Again<S, B>>,
        },
        // The token was rejected, and another is on its way. The first response is held until the
        // outcome is known, since it is the answer if there is no other token (D08).
        Renewing {
            cache: TokenCache,
            acquire: Acquire,
            rejected: Option<Rejected<S, B, R>>,
        },
        // Sent again. Whatever comes now is the answer (D06).
        SentAgain {
            cache: TokenCache,
            #[pin] response: F,
            rejected: u64,
        },
    }
}

/// What a future says that is polled once more after it was ready.
const POLLED_AGAIN: &str = "`ResponseFuture` polled after it was ready";

/// A request that is not sent yet, or not sent again.
pub(crate) struct Pending<S, B> {
    pub(crate) service: S,
    pub(crate) head: request::Parts,
    pub(crate) body: ReplayBody<B>,
    /// What a retry needs; without it there will be none.
    pub(crate) replay: Option<Replay<B>>,
    /// The generation that was rejected, if the request was sent before.
    pub(crate) rejected: Option<u64>,
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

impl<S, B> Pending<S, B> {
    /// Which token will do for it.
    pub(crate) fn want(&self) -> Want {
        self.rejected.map_or(Want::ANY, Want::other_than)
    }

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
            rejected,
        } = self;
        let kept = replay.map(|replay| (replay, head.clone()));
        head.headers.insert(AUTHORIZATION, token.header_value());
        let response = service.call(Request::from_parts(head, body));
        if let Some(rejected) = rejected {
            cache.core().telemetry.retrying();
            return State::SentAgain {
                cache,
                response,
                rejected,
            };
        }
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

impl<S, B> Again<S, B> {
    fn pending(self, rejected: u64) -> Result<Pending<S, B>, NotReplayable> {
        Ok(Pending {
            service: self.service,
            head: self.head,
            body: self.replay.take()?,
            replay: None,
            rejected: Some(rejected),
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
        Self::new(State::waiting(cache, pending, look))
    }
}

impl<S, B, R, F> State<S, B, R, F> {
    fn waiting(cache: TokenCache, pending: Pending<S, B>, look: Look) -> Self {
        let acquire = Acquire::looked(cache.core().clone(), pending.want(), look);
        Self::Waiting {
            cache,
            acquire,
            pending: Some(pending),
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
            (Some(again), Ok(())) => Ok(Self::Renewing {
                cache,
                acquire,
                rejected: Some(Rejected {
                    generation,
                    response,
                    again,
                }),
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
                    pending,
                } => {
                    ready!(Pin::new(acquire).poll(cx))?;
                    State::Readying {
                        cache: cache.clone(),
                        pending: pending.take(),
                    }
                }
                StateProj::Readying { cache, pending } => {
                    let service = &mut pending.as_mut().expect(POLLED_AGAIN).service;
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    let mut pending = pending.take().expect(POLLED_AGAIN);
                    // The service may have taken its time, so the token is the one that is current
                    // now (G19).
                    match cache.core().look(pending.want()) {
                        Look::Serve(token) => pending.send(cache.clone(), &token),
                        look => {
                            pending.service = pending.service.clone();
                            State::waiting(cache.clone(), pending, look)
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
                        return Poll::Ready(Ok(response));
                    }
                    match State::rejected(cache.clone(), *generation, again.take(), response) {
                        Ok(renewing) => renewing,
                        Err(response) => return Poll::Ready(Ok(response)),
                    }
                }
                StateProj::Renewing {
                    cache,
                    acquire,
                    rejected,
                } => {
                    let token = ready!(Pin::new(acquire).poll(cx));
                    let Rejected {
                        generation,
                        response,
                        again,
                    } = rejected.take().expect(POLLED_AGAIN);
                    let response = match token {
                        Err(error) => marked(response, generation, Some(Unhealed::NoToken(error))),
                        Ok(_) => match again.pending(generation) {
                            Err(why) => not_replayed(cache, response, generation, why),
                            Ok(pending) => {
                                // The unread response goes before anything is sent again.
                                drop(response);
                                let next = State::Readying {
                                    cache: cache.clone(),
                                    pending: Some(pending),
                                };
                                state.set(next);
                                continue;
                            }
                        },
                    };
                    return Poll::Ready(Ok(response));
                }
                StateProj::SentAgain {
                    cache,
                    response,
                    rejected,
                } => {
                    let response = ready!(response.poll(cx)).map_err(Into::into)?;
                    let healed = !is_rejection(&response);
                    cache.core().healed(*rejected, healed);
                    let unhealed = (!healed).then_some(Unhealed::RejectedAgain);
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
