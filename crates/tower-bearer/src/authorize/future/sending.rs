//! Requests that are about to be sent, for the first time or again.

use std::sync::Arc;

use http::{Request, Response, Uri, header::AUTHORIZATION, request};
use tower_service::Service;

use super::{State, not_replayed};
use crate::{
    authorize::{
        body::{NotReplayable, Replay, ReplayBody},
        layer::Shared,
        stamped::{Stamped, Unhealed},
    },
    error::{BoxError, Error},
    renewal::{Stamp, Want},
};

/// What is sent once there is a token.
pub(super) enum Next<S, B, R> {
    /// The request, for the first time.
    First { service: S, unsent: Unsent<B> },
    /// The request again, whose token was rejected. The response that said so is held until it is sent,
    /// since it is the answer if that comes to nothing (D08).
    Retry(Rejected<S, B, R>),
}

/// A request that is not sent yet.
pub(crate) struct Unsent<B> {
    pub(crate) request: Request<ReplayBody<B>>,
    /// What a retry needs.
    pub(crate) replay: Result<Replay<B>, NotReplayable>,
    /// Which token will do.
    pub(crate) want: Want,
}

/// What is needed to send a request again.
pub(super) struct Again<S, B> {
    service: S,
    head: request::Parts,
    pub(super) replay: Replay<B>,
}

/// A request whose token was rejected, with the response that said so.
pub(super) struct Rejected<S, B, R> {
    pub(super) generation: u64,
    pub(super) response: Response<R>,
    pub(super) want: Want,
    pub(super) again: Again<S, B>,
}

impl<S, B, R> Next<S, B, R> {
    pub(super) fn service(&mut self) -> &mut S {
        match self {
            Self::First { service, .. } => service,
            Self::Retry(rejected) => &mut rejected.again.service,
        }
    }

    /// Which token will do.
    pub(super) fn want(&self) -> Want {
        match self {
            Self::First { unsent, .. } => unsent.want,
            Self::Retry(rejected) => rejected.want.other_than(rejected.generation),
        }
    }

    /// What the caller gets if there is no token.
    pub(super) fn fail(self, error: Error) -> Result<Response<R>, BoxError> {
        match self {
            Self::First { .. } => Err(error.into()),
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
    {
        match self {
            Self::First {
                mut service,
                unsent,
            } => Ok(unsent.send(shared, &mut service, stamp)),
            Self::Retry(rejected) => rejected.send(shared, stamp),
        }
    }
}

/// Stamps a request and sends it; the second is where it went, if that is of interest.
#[inline]
fn stamp_and_send<S, B>(
    shared: &Shared,
    service: &mut S,
    mut request: Request<ReplayBody<B>>,
    stamp: Stamp,
) -> (S::Future, Option<Uri>)
where
    S: Service<Request<ReplayBody<B>>>,
{
    let sent_to = shared.place_sent_to(request.uri());
    request.headers_mut().insert(AUTHORIZATION, stamp.header);
    (service.call(request), sent_to)
}

impl<B> Unsent<B> {
    /// Stamps the request and sends it, with a copy of its head and of the service kept if it can be
    /// sent again.
    #[inline]
    pub(super) fn send<S, R>(
        self,
        shared: Arc<Shared>,
        service: &mut S,
        stamp: Stamp,
    ) -> State<S, B, R, S::Future>
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    {
        let Self {
            mut request,
            replay,
            want,
        } = self;
        let again = match replay {
            Ok(replay) => {
                let (head, body) = request.into_parts();
                let again = Again {
                    service: service.clone(),
                    head: head.clone(),
                    replay,
                };
                request = Request::from_parts(head, body);
                Ok(again)
            }
            Err(why) => Err(why),
        };
        let generation = stamp.generation;
        let (response, sent_to) = stamp_and_send(&shared, service, request, stamp);
        State::Sent {
            shared,
            response,
            generation,
            sent_to,
            want,
            again: Some(again),
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
        let generation = stamp.generation;
        let request = Request::from_parts(head, body);
        let (response, sent_to) = stamp_and_send(&shared, &mut service, request, stamp);
        shared.cache.core().telemetry.retrying();
        Ok(State::SentAgain {
            shared,
            response,
            generation,
            sent_to,
            rejected,
        })
    }
}
