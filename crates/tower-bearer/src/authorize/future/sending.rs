//! Requests that are about to be sent, for the first time or again.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, Uri, header::AUTHORIZATION};
use http_body::Body;
use tower_service::Service;

use super::{State, not_replayed};
use crate::{
    authorize::{
        body::{NotReplayable, Replay, ReplayBody},
        head::Head,
        layer::Shared,
        stamped::{Stamped, Unhealed},
    },
    error::{BoxError, Error},
    renewal::{Stamp, Want},
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
pub(super) struct Again<S, B> {
    service: S,
    head: Head,
    pub(super) replay: Replay<B>,
}

/// A request whose token was rejected, with the response that said so.
pub(super) struct Rejected<S, B, R> {
    pub(super) generation: u64,
    pub(super) response: Response<R>,
    pub(super) remaining: Duration,
    pub(super) again: Again<S, B>,
}

impl<S, B, R> Next<S, B, R> {
    pub(super) fn service(&mut self) -> &mut S {
        match self {
            Self::First(unsent) => &mut unsent.service,
            Self::Retry(rejected) => &mut rejected.again.service,
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
                let why = Unhealed::NoToken(error);
                Ok(Stamped::unhealed_by(rejected.generation, why).onto(rejected.response))
            }
        }
    }

    /// Stamps the request and sends it; or the response if it cannot be sent again.
    pub(super) fn send(
        self,
        shared: Arc<Shared>,
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
    fn send<R>(mut self, shared: Arc<Shared>, stamp: Stamp) -> State<S, B, R, S::Future>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
        B: Body,
    {
        let headers = self.request.headers_mut();
        headers.insert(AUTHORIZATION, stamp.header);
        let generation = stamp.generation;
        let sent = Sent::first(
            shared,
            &self.service,
            &self.request,
            self.sending,
            generation,
        );
        sent.send(&mut self.service, self.request)
    }
}

/// How a request is sent for the first time.
pub(crate) struct Sending {
    /// How long its token should be of use.
    pub(crate) remaining: Duration,
    pub(crate) retry: bool,
}

/// A request that was sent with a token.
pub(crate) struct Sent<S, B> {
    pub(super) shared: Arc<Shared>,
    /// That of its token.
    pub(super) generation: u64,
    /// What is known of it beyond that, if its rejection needs more.
    pub(super) kept: Option<Box<Kept<S, B>>>,
}

/// What is known of a request that was sent with a token, beyond that.
pub(crate) struct Kept<S, B> {
    /// Where it went, if it will be asked whether the answer came from there.
    pub(super) sent_to: Option<Box<Uri>>,
    pub(super) remaining: Duration,
    /// The generation that it was sent with before, if that was rejected.
    pub(super) rejected: Option<u64>,
    pub(super) again: Result<Again<S, B>, NotReplayable>,
}

impl<S, B: Body> Sent<S, B> {
    /// What is kept of a stamped request that will be sent for the first time: a copy of its head and of the
    /// service, if it can be sent again.
    #[inline]
    pub(crate) fn first(
        shared: Arc<Shared>,
        service: &S,
        request: &Request<B>,
        sending: Sending,
        generation: u64,
    ) -> Self
    where
        S: Clone,
    {
        // Of most requests that are not sent again nothing is to be known.
        let is_plain =
            !sending.retry && sending.remaining.is_zero() && shared.rules.final_uri.is_none();
        let kept = (!is_plain).then(|| Kept::of(&shared, service, request, sending));
        Self {
            shared,
            generation,
            kept,
        }
    }

    /// What is kept, with the limit to what is kept of a body.
    #[inline]
    pub(crate) fn keeps(&mut self) -> Option<(&mut Kept<S, B>, usize)> {
        let limit = self.shared.rules.replay_limit;
        self.kept.as_deref_mut().map(|kept| (kept, limit))
    }

    /// Sends the request to a service that is ready.
    fn send<R>(mut self, service: &mut S, request: Request<B>) -> State<S, B, R, S::Future>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
    {
        let response = match self.keeps() {
            Some((kept, limit)) => service.call(request.map(|body| kept.body(body, limit))),
            None => service.call(request.map(ReplayBody::once)),
        };
        State::Sent {
            response,
            stamped: Some(self),
        }
    }
}

impl<S, B: Body> Kept<S, B> {
    /// What is to be known of a request that may be sent again, or asks for something.
    ///
    /// It is large; a function of its own stays out of the way of requests that keep nothing.
    #[inline(never)]
    fn of(shared: &Shared, service: &S, request: &Request<B>, sending: Sending) -> Box<Self>
    where
        S: Clone,
    {
        let replay = match sending.retry {
            true => Replay::of(request.body(), shared.rules.replay_limit),
            false => Err(NotReplayable::TurnedOff),
        };
        let again = replay.map(|replay| Again {
            service: service.clone(),
            head: Head::of(request),
            replay,
        });
        Box::new(Self {
            sent_to: shared.place_sent_to(request.uri()),
            remaining: sending.remaining,
            rejected: None,
            again,
        })
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
        shared: Arc<Shared>,
        stamp: Stamp,
    ) -> Result<State<S, B, R, S::Future>, Response<R>>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>>,
    {
        let Self {
            generation: rejected,
            response,
            again,
            ..
        } = self;
        let Again {
            mut service,
            head,
            replay,
        } = again;
        let body = match replay.take() {
            Ok(body) => body,
            Err(why) => return Err(not_replayed(shared.cache.core(), response, rejected, why)),
        };
        drop(response);
        let mut request = head.into_request(body);
        let kept = Kept {
            sent_to: shared.place_sent_to(request.uri()),
            remaining: Duration::ZERO,
            rejected: Some(rejected),
            again: Err(NotReplayable::TurnedOff),
        };
        request.headers_mut().insert(AUTHORIZATION, stamp.header);
        let response = service.call(request);
        shared.cache.core().telemetry.retrying();
        let stamped = Some(Sent {
            shared,
            generation: stamp.generation,
            kept: Some(Box::new(kept)),
        });
        Ok(State::Sent { response, stamped })
    }
}
