use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    attempt::{self, Again, Attempt, OnRejection, Sent, Shared},
    options::RequestOptions,
    outcome::{AuthOutcome, NotRetried},
    replay::{NotReplayable, ReplayBody},
    turn::{NoTurn, Turn},
};
use crate::{
    error::{BoxError, Error},
    refresh::{Acquire, Core, Look, Stamp, Want},
};

pin_project! {
    /// The response future of [`BearerAuth`](super::BearerAuth).
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the request. A refresh that it waited for goes on, and its token is cached.
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
    {
        #[pin]
        state: State<S, B, R, S::Future>,
    }
}

pin_project! {
    // Waiting -> Sent -> Retrying -> Sent, and most requests start in `Sent` and end there. What the other
    // states need is boxed, because each layer around this one moves the future. An `Option` is emptied when
    // its state is left.
    #[project = StateProj]
    enum State<S, B, R, F> {
        // The request is not sent.
        Refused { error: Option<Error> },
        // The request is not sent yet: it waits for a token.
        Waiting { waiting: Option<Box<Waiting<S, B>>> },
        // The request was sent. `sent` is `None` if it has no token: then the response is the answer (G27, D15).
        Sent {
            #[pin] response: F,
            sent: Option<Box<Sent<S, B>>>,
        },
        // The token was rejected: the request waits for another one.
        Retrying { retrying: Option<Box<Retrying<S, B, R>>> },
    }
}

/// The message of the panic if a future is polled again after it was ready.
const POLLED_AGAIN: &str = "`ResponseFuture` polled after it was ready";

/// A request that waits for its first token.
struct Waiting<S, B> {
    /// The wait for the token, and for the inner service.
    turn: Turn<S>,
    /// The request, without a token.
    request: Request<B>,
}

/// A request whose token was rejected and that waits for another one.
struct Retrying<S, B, R> {
    /// The wait for the token, and for the inner service.
    turn: Turn<S>,
    /// The generation that was rejected.
    rejected: u64,
    /// What is kept of the first attempt; `None` only while it changes.
    kept: Option<Kept<B, R>>,
}

/// What a request that waits for another token keeps of its first attempt.
enum Kept<B, R> {
    /// The response, which is the answer if there is no other token (D08), and what it takes to send the request
    /// again.
    Response(Response<R>, Again<B>),
    /// The response was let go of. The request has taken its body from the first attempt.
    Request(Request<ReplayBody<B>>),
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
{
    /// A request that is not sent.
    pub(super) fn refused(error: Error) -> Self {
        let error = Some(error);
        Self {
            state: State::Refused { error },
        }
    }

    /// A request that waits for its first token.
    pub(super) fn waiting(
        shared: Arc<Shared<S>>,
        service: S,
        request: Request<B>,
        look: Look,
    ) -> Self {
        let want = Want::lasting(RequestOptions::of(&request).remaining());
        let acquire = Acquire::looked(shared.stamper.cache.core().clone(), want, look);
        let turn = Turn {
            shared,
            service,
            want,
            acquire: Some(acquire),
        };
        let waiting = Some(Box::new(Waiting { turn, request }));
        Self {
            state: State::Waiting { waiting },
        }
    }

    /// A request that was sent, with a token or without.
    #[inline]
    pub(super) fn sent(response: S::Future, sent: Option<Box<Sent<S, B>>>) -> Self {
        Self {
            state: State::Sent { response, sent },
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

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let (response, sent) = match state.as_mut().project() {
                StateProj::Refused { error } => {
                    return Poll::Ready(Err(error.take().expect(POLLED_AGAIN).into()));
                }
                StateProj::Waiting { waiting } => {
                    let turn = &mut waiting.as_mut().expect(POLLED_AGAIN).turn;
                    let stamp = ready!(turn.poll_stamp(cx));
                    waiting.take().expect(POLLED_AGAIN).send(stamp?)
                }
                StateProj::Sent { response, sent } => {
                    let response = ready!(response.poll(cx)).map_err(Into::into)?;
                    if sent.as_ref().is_none_or(|sent| sent.ends_with(&response)) {
                        // The answer is there, so nothing is kept for a retry any more (L37).
                        *sent = None;
                        return Poll::Ready(Ok(response));
                    }
                    match sent.take().expect(POLLED_AGAIN).after(response) {
                        Ok(retrying) => {
                            let retrying = Some(Box::new(retrying));
                            state.set(State::Retrying { retrying });
                            continue;
                        }
                        Err(response) => return Poll::Ready(Ok(response)),
                    }
                }
                StateProj::Retrying { retrying } => {
                    let waiting = retrying.as_mut().expect(POLLED_AGAIN);
                    let sent = match ready!(waiting.poll_turn(cx)) {
                        Ok(stamp) => retrying.take().expect(POLLED_AGAIN).send(stamp),
                        Err(answer) => return Poll::Ready(answer),
                    };
                    match sent {
                        Ok(sent) => sent,
                        Err(response) => return Poll::Ready(Ok(response)),
                    }
                }
            };
            let sent = Some(sent);
            state.set(State::Sent { response, sent });
        }
    }
}

impl<S, B> Waiting<S, B> {
    /// Sends the request for the first time.
    fn send<R>(mut self, stamp: Stamp) -> Attempt<S::Future, S, B>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
        B: Body,
    {
        attempt::first(
            self.turn.shared,
            &mut self.turn.service,
            self.request,
            stamp,
        )
    }
}

impl<S, B> Sent<S, B> {
    /// Returns true if the response is certainly not a rejection, and is handed on unchanged.
    #[inline]
    fn ends_with<R>(&self, response: &Response<R>) -> bool {
        let is_first = !matches!(self.on_rejection, OnRejection::Final { .. });
        let ends = is_first && self.shared.stamper.rules.plainly_accepts(response);
        if ends {
            self.note_accepted(response);
        }
        ends
    }

    /// Decides what follows a response that may be a rejection: a retry, or the response as the answer.
    #[inline(never)]
    fn after<R>(self, response: Response<R>) -> Result<Retrying<S, B, R>, Response<R>>
    where
        S: Clone,
    {
        let stamper = &self.shared.stamper;
        let (is_rejection, response) = stamper.rules.rejects(response, self.sent_to.as_deref());
        if !is_rejection {
            self.note_accepted_closely(&response);
            return Err(match self.on_rejection {
                OnRejection::Final { first } => {
                    AuthOutcome::after_rejection(self.generation, first, None).onto(response)
                }
                _ if stamper.rules.mark_responses => {
                    AuthOutcome::accepted(self.generation).onto(response)
                }
                _ => response,
            });
        }
        let target = self.target();
        let again = match self.on_rejection {
            OnRejection::Retry(again) => Ok(again),
            OnRejection::GiveUp(why) => Err(why),
            // There is one retry, so this is the answer (D06).
            OnRejection::Final { first } => {
                stamper.cache.core().rejected_again(self.generation, target);
                let why = Some(NotRetried::RejectedAgain);
                return Err(
                    AuthOutcome::after_rejection(self.generation, first, why).onto(response)
                );
            }
        };
        // The token is marked first, and only then is the body looked at: a request that cannot be sent again
        // still gets the next one a new token (G10).
        let want = Want::lasting(self.remaining).about(target);
        let acquire = stamper.cache.reject_generation(self.generation, want);
        let again = match again.and_then(|again| again.check().map(|()| again)) {
            Ok(again) => again,
            Err(why) => {
                let core = stamper.cache.core();
                return Err(not_replayed(core, response, self.generation, why));
            }
        };
        let lets_go = stamper.rules.drop_rejected;
        let mut retrying = Retrying {
            turn: Turn {
                service: self.shared.spare(),
                want: want.other_than(self.generation),
                acquire: Some(acquire),
                shared: self.shared,
            },
            rejected: self.generation,
            kept: Some(Kept::Response(response, again)),
        };
        if lets_go {
            retrying.let_go()?;
        }
        Ok(retrying)
    }

    /// Notes that the server accepted the token: it answered, and not with a failure of its own.
    #[inline]
    fn note_accepted<R>(&self, response: &Response<R>) {
        if !response.status().is_server_error() {
            let core = self.shared.stamper.cache.core();
            core.accepted(self.generation, || self.target());
        }
    }

    /// The same. That a target accepts a token which had rejected one is always of interest.
    fn note_accepted_closely<R>(&self, response: &Response<R>) {
        let is_retry = matches!(self.on_rejection, OnRejection::Final { .. });
        if is_retry && !response.status().is_server_error() {
            let core = self.shared.stamper.cache.core();
            return core.note_accepted(self.generation, self.target());
        }
        self.note_accepted(response);
    }
}

impl<S, B, R> Retrying<S, B, R> {
    /// Returns the token for the retry once the service is ready for it, or the answer if there is no retry.
    fn poll_turn<T>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stamp, Result<Response<R>, BoxError>>>
    where
        S: Service<T> + Clone,
        S::Error: Into<BoxError>,
    {
        let mut turn = self.turn.poll_stamp(cx);
        // The service may never become ready while the first response is held: it may hold the last permit, or the
        // only connection. If there is a token, the response is needed no more (L05).
        if turn.is_pending() && self.turn.acquire.is_none() && self.holds_response() {
            if let Err(response) = self.let_go() {
                return Poll::Ready(Err(Ok(response)));
            }
            turn = self.turn.poll_stamp(cx);
        }
        Poll::Ready(ready!(turn).map_err(|why| self.without_turn(why)))
    }

    fn holds_response(&self) -> bool {
        matches!(self.kept, Some(Kept::Response(..)))
    }

    /// Lets go of the first response, if it is still there.
    ///
    /// # Errors
    ///
    /// If the request cannot be sent again: the response is the answer then.
    fn let_go(&mut self) -> Result<(), Response<R>> {
        let request = match self.kept.take().expect(POLLED_AGAIN) {
            Kept::Request(request) => request,
            Kept::Response(response, again) => match again.into_request() {
                // The response ends here.
                Ok(request) => request,
                Err(why) => {
                    return Err(not_replayed(self.turn.core(), response, self.rejected, why));
                }
            },
        };
        self.kept = Some(Kept::Request(request));
        Ok(())
    }

    /// Sends the request again, or returns the first response if that is not possible.
    fn send(mut self, stamp: Stamp) -> Result<Attempt<S::Future, S, B>, Response<R>>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    {
        // Its connection may be the one that the retry needs (D19).
        self.let_go()?;
        let Some(Kept::Request(request)) = self.kept else {
            unreachable!("the response was let go of");
        };
        let core = self.turn.core().clone();
        let Turn {
            shared, service, ..
        } = self.turn;
        let sent = attempt::again(shared, service, request, stamp, self.rejected);
        core.telemetry.retrying();
        Ok(sent)
    }

    /// Returns the answer of a request that is not sent again: the first response with the reason, or the reason if
    /// the response was let go of.
    fn without_turn(&mut self, why: NoTurn) -> Result<Response<R>, BoxError> {
        let Some(Kept::Response(response, _)) = self.kept.take() else {
            return Err(why.into());
        };
        let why = match why {
            NoTurn::Token(error) => NotRetried::NoToken(error),
            NoTurn::Service(error) => NotRetried::NotReady(error.into()),
        };
        Ok(AuthOutcome::not_retried_because(self.rejected, why).onto(response))
    }
}

/// Returns the response of a request that could not be sent again.
fn not_replayed<R>(
    core: &Core,
    response: Response<R>,
    generation: u64,
    why: NotReplayable,
) -> Response<R> {
    core.telemetry.replay_refused(why.as_str());
    AuthOutcome::not_retried_because(generation, NotRetried::NotReplayed(why)).onto(response)
}

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
