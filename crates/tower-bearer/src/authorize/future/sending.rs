//! Requests that are about to be sent, for the first time or again.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, Uri, header::AUTHORIZATION};
use http_body::Body;
use tower_service::Service;

use super::{First, Kept, ResponseFuture, State, not_replayed};
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
    ) -> Result<ResponseFuture<S, B, R>, Response<R>>
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
    fn send<R>(mut self, shared: Arc<Shared>, stamp: Stamp) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
        B: Body,
    {
        let headers = self.request.headers_mut();
        headers.insert(AUTHORIZATION, stamp.header);
        let sent_to = shared.place_sent_to(self.request.uri());
        let (mut service, request) = (self.service, self.request);
        self.sending
            .send(shared, &mut service, request, stamp.generation, sent_to)
    }
}

/// How a request is sent for the first time.
pub(crate) struct Sending {
    /// How long its token should be of use.
    pub(crate) remaining: Duration,
    pub(crate) retry: bool,
}

impl Sending {
    /// As all requests are that ask for nothing else.
    #[inline]
    pub(crate) fn plainly(shared: &Shared) -> Self {
        Self {
            remaining: Duration::ZERO,
            retry: shared.rules.retry,
        }
    }

    /// Sends a stamped request to a service that is ready, with a copy of its head and of the service kept
    /// if it can be sent again.
    ///
    /// Where it is sent to is told, and no reference to the request taken before its body is changed: then
    /// the compiler moves its 200 bytes once, and not twice.
    #[inline(always)]
    pub(crate) fn send<S, B, R>(
        self,
        shared: Arc<Shared>,
        service: &mut S,
        request: Request<B>,
        generation: u64,
        sent_to: Option<Box<Uri>>,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
        B: Body,
    {
        let remaining = self.remaining;
        let keep = |sent_to, again| {
            Box::new(Kept {
                sent_to,
                remaining,
                again,
            })
        };
        let (response, kept) = if self.retry {
            let mut replay = Err(NotReplayable::TurnedOff);
            let request = request.map(|body| {
                let (body, kept) = ReplayBody::kept(body, shared.rules.replay_limit);
                replay = kept;
                body
            });
            let again = replay.map(|replay| Again {
                service: service.clone(),
                head: Head::of(&request),
                replay,
            });
            let kept = keep(sent_to, again);
            (service.call(request), Some(kept))
        } else {
            let response = service.call(request.map(ReplayBody::once));
            // Of most such requests nothing is to be known.
            let is_plain = sent_to.is_none() && remaining.is_zero();
            let kept = (!is_plain).then(|| keep(sent_to, Err(NotReplayable::TurnedOff)));
            (response, kept)
        };
        ResponseFuture::new(State::Sent {
            shared,
            response,
            generation,
            kept,
        })
    }
}

impl<S, B, R> Rejected<S, B, R> {
    /// Takes the body back, lets go of the first response, and sends the request again.
    pub(super) fn send(
        self,
        shared: Arc<Shared>,
        stamp: Stamp,
    ) -> Result<ResponseFuture<S, B, R>, Response<R>>
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
        let sent_to = shared.place_sent_to(request.uri());
        request.headers_mut().insert(AUTHORIZATION, stamp.header);
        let response = service.call(request);
        shared.cache.core().telemetry.retrying();
        Ok(ResponseFuture::new(State::SentAgain {
            shared,
            response,
            generation: stamp.generation,
            first: Box::new(First { sent_to, rejected }),
        }))
    }
}
