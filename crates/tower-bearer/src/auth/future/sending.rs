//! Requests that are about to be sent, for the first time or again.

use std::{mem, num::NonZeroU64, sync::Arc, time::Duration};

use http::{Request, Response, Uri, header::AUTHORIZATION};
use http_body::Body;
use tower_service::Service;

use super::{State, not_replayed};
use crate::{
    auth::{
        body::{NotReplayable, Replay, ReplayBody},
        head::Head,
        layer::Shared,
        outcome::{AuthOutcome, NotRetried},
    },
    error::{BoxError, Error},
    refresh::{Stamp, Want},
    registry::CacheNumber,
};

/// What is sent once there is a token.
pub(super) enum Next<S, B, R> {
    /// The request, for the first time.
    First(Unsent<S, B>),
    /// The request again, whose token was rejected. The response that said so is held until it is sent,
    /// since it is the answer if that comes to nothing (D08).
    Retry(Rejected<S, B, R>),
}

/// A request that is not sent yet, with the service for it.
pub(crate) struct Unsent<S, B> {
    pub(crate) service: S,
    pub(crate) request: Request<B>,
    pub(crate) sending: Sending,
}

/// What is needed to send a request again.
pub(super) struct Again<B> {
    head: Head,
    pub(super) replay: Replay<B>,
}

/// A request whose token was rejected, with the response that said so.
pub(super) struct Rejected<S, B, R> {
    pub(super) generation: u64,
    pub(super) response: Response<R>,
    pub(super) remaining: Duration,
    pub(super) service: S,
    pub(super) again: Again<B>,
}

impl<S, B, R> Next<S, B, R> {
    pub(super) fn service(&mut self) -> &mut S {
        match self {
            Self::First(unsent) => &mut unsent.service,
            Self::Retry(rejected) => &mut rejected.service,
        }
    }

    /// Which token will do.
    pub(super) fn want(&self) -> Want {
        match self {
            Self::First(unsent) => Want::lasting(unsent.sending.remaining),
            Self::Retry(rejected) => {
                Want::lasting(rejected.remaining).other_than(rejected.generation)
            }
        }
    }

    /// What the caller gets if there is no token.
    pub(super) fn fail(self, error: Error) -> Result<Response<R>, BoxError> {
        match self {
            Self::First(_) => Err(error.into()),
            Self::Retry(rejected) => {
                let why = NotRetried::NoToken(error);
                Ok(AuthOutcome::not_retried_because(rejected.generation, why)
                    .onto(rejected.response))
            }
        }
    }

    /// Stamps the request and sends it; or the response if it cannot be sent again.
    pub(super) fn send(
        self,
        shared: Arc<Shared<S>>,
        stamp: Stamp,
    ) -> Result<State<S, B, R, S::Future>, Response<R>>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
        B: Body,
    {
        match self {
            Self::First(unsent) => Ok(unsent.send(shared, stamp)),
            Self::Retry(rejected) => rejected.send(shared, stamp),
        }
    }
}

impl<S, B> Unsent<S, B> {
    fn send<R>(mut self, shared: Arc<Shared<S>>, stamp: Stamp) -> State<S, B, R, S::Future>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
        B: Body,
    {
        State::sent(shared, &mut self.service, self.request, self.sending, stamp)
    }
}

/// How a request is sent for the first time.
pub(crate) struct Sending {
    /// How long its token should be of use.
    pub(crate) remaining: Duration,
    pub(crate) retry: bool,
}

impl<S, B, R> State<S, B, R, S::Future>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    B: Body,
{
    /// Stamps a request and sends it for the first time, to a service that is ready.
    pub(crate) fn sent(
        shared: Arc<Shared<S>>,
        service: &mut S,
        mut request: Request<B>,
        sending: Sending,
        stamp: Stamp,
    ) -> Self {
        let Stamp { header, generation } = stamp;
        let limit = shared.layer.rules.replay_limit;
        let mut kept = Kept::of(shared, &request, sending, generation);
        request.headers_mut().insert(AUTHORIZATION, header);
        let response = service.call(request.map(|body| kept.body(body, limit)));
        kept.keep_spare(service);
        let sent = Sent::Kept(kept);
        Self::Sent { response, sent }
    }
}

/// What is known of a request that was sent, until its response is there: no more than two words, since each
/// layer around this one moves them.
pub(crate) enum Sent<S, B> {
    /// It is sent once, with a token of this generation, or without one of ours.
    Once {
        cache: CacheNumber,
        generation: Option<NonZeroU64>,
    },
    /// More is known of it.
    Kept(Box<Kept<S, B>>),
}

/// What is known of a request that was sent with a token.
pub(crate) struct Kept<S, B> {
    pub(super) shared: Arc<Shared<S>>,
    /// That of its token.
    pub(super) generation: u64,
    /// Where it went, if it will be asked whether the answer came from there.
    pub(super) sent_to: Option<Box<Uri>>,
    pub(super) remaining: Duration,
    /// The generation that it was sent with before, if that was rejected.
    pub(super) rejected: Option<u64>,
    pub(super) again: Result<Again<B>, NotReplayable>,
}

impl<S, B> Sent<S, B> {
    /// It is sent once, with the token of `generation`; no token has generation 0.
    #[inline]
    pub(crate) fn once(cache: CacheNumber, generation: u64) -> Self {
        let generation = NonZeroU64::new(generation);
        Self::Once { cache, generation }
    }

    /// It is sent without a token of ours.
    pub(crate) fn unstamped(cache: CacheNumber) -> Self {
        Self::once(cache, 0)
    }

    /// Takes what is known, and leaves that nothing was stamped.
    pub(super) fn take(&mut self) -> Self {
        let cache = match self {
            Self::Once { cache, .. } => *cache,
            Self::Kept(kept) => kept.shared.layer.cache.core().number,
        };
        mem::replace(self, Self::unstamped(cache))
    }
}

impl<S, B: Body> Kept<S, B> {
    /// What is to be known of a request that may be sent again, or asks for something: a copy of its head,
    /// if it can be sent again. The request has no token yet.
    ///
    /// It is large; a function of its own stays out of the way of requests that keep nothing.
    #[inline(never)]
    pub(crate) fn of(
        shared: Arc<Shared<S>>,
        request: &Request<B>,
        sending: Sending,
        generation: u64,
    ) -> Box<Self> {
        let mut kept = Box::new(Self {
            sent_to: shared.place_sent_to(request.uri()),
            generation,
            remaining: sending.remaining,
            rejected: None,
            again: Err(NotReplayable::TurnedOff),
            shared,
        });
        if sending.retry {
            // It is large, so it is put into the box only here, and moved once less.
            match Replay::of(request.body(), kept.shared.layer.rules.replay_limit) {
                Ok(replay) => {
                    let head = Head::of(request);
                    kept.again = Ok(Again { head, replay });
                }
                Err(why) => kept.again = Err(why),
            }
        }
        kept
    }

    /// Keeps a clone of the inner service if the request may be sent again. It was called just now, so that it
    /// is ready for nothing, and no clone holds its capacity (G39).
    #[inline]
    pub(crate) fn keep_spare(&self, service: &S)
    where
        S: Clone,
    {
        if self.again.is_ok() {
            self.shared.keep_spare(service);
        }
    }

    /// The body for the inner service, of which up to `limit` bytes are kept if it may be sent again.
    pub(crate) fn body(&mut self, body: B, limit: usize) -> ReplayBody<B> {
        match &mut self.again {
            Ok(again) => again.replay.keep(body, limit),
            Err(_) => ReplayBody::once(body),
        }
    }
}

impl<S, B, R> Rejected<S, B, R> {
    /// Takes the body back, lets go of the first response, and sends the request again.
    pub(super) fn send(
        self,
        shared: Arc<Shared<S>>,
        stamp: Stamp,
    ) -> Result<State<S, B, R, S::Future>, Response<R>>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
    {
        let Self {
            generation: rejected,
            response,
            mut service,
            again: Again { head, replay },
            ..
        } = self;
        let body = match replay.take() {
            Ok(body) => body,
            Err(why) => {
                return Err(not_replayed(
                    shared.layer.cache.core(),
                    response,
                    rejected,
                    why,
                ));
            }
        };
        drop(response);
        let mut request = head.into_request(body);
        request.headers_mut().insert(AUTHORIZATION, stamp.header);
        let kept = Kept {
            sent_to: shared.place_sent_to(request.uri()),
            shared,
            generation: stamp.generation,
            remaining: Duration::ZERO,
            rejected: Some(rejected),
            again: Err(NotReplayable::TurnedOff),
        };
        let response = service.call(request);
        kept.shared.layer.cache.core().telemetry.retrying();
        let sent = Sent::Kept(Box::new(kept));
        Ok(State::Sent { response, sent })
    }
}
