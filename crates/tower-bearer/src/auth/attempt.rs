//! Sends a request: for the first time, and once more after a rejection.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Request, Response, Uri};
use http_body::Body;
use tower_service::Service;

use super::{
    attach::{Stamper, attach},
    head::Head,
    options::RequestOptions,
    replay::{NotReplayable, Replay, ReplayBody},
};
use crate::{
    cache::TokenCache,
    refresh::{Stamp, Target},
};

/// What the requests through one service share, and its clones.
#[derive(Debug)]
pub(super) struct Shared<S> {
    /// The tokens and the rules.
    pub(super) stamper: Stamper,
    /// The inner service that was called last. Retries clone it, so a request that is not retried costs
    /// no clone. `None` until the first request that could be retried.
    spare: Mutex<Option<S>>,
    /// Whose service is the spare one, if these are the tokens of another cache.
    base: Option<Arc<Shared<S>>>,
}

/// A request that was sent with a token, until its response arrives.
pub(super) struct Sent<S, B> {
    /// The tokens, the rules, and the service for a retry.
    pub(super) shared: Arc<Shared<S>>,
    /// The generation of the token that was sent.
    pub(super) generation: u64,
    /// How long the token should last, if that can be had.
    pub(super) remaining: Duration,
    /// Where the request went; known only if the rules ask where its response came from. In a box, because
    /// few layers ask.
    pub(super) sent_to: Option<Box<Uri>>,
    /// Where a request went that is not sent again.
    uri: Option<Uri>,
    /// What happens if the token is rejected.
    pub(super) on_rejection: OnRejection<B>,
}

/// What happens to a request whose token is rejected.
pub(super) enum OnRejection<B> {
    /// It is sent again.
    Retry(Again<B>),
    /// It cannot be sent again.
    GiveUp(NotReplayable),
    /// It was the retry already: the token of generation `first` was rejected before.
    Final {
        /// The generation that the first attempt was sent with.
        first: u64,
    },
}

/// What it takes to send a request again.
pub(super) struct Again<B> {
    /// A copy of the head, without a token.
    head: Head,
    /// The body.
    replay: Replay<B>,
}

/// The response future of the inner service, and what was sent.
pub(super) type Attempt<F, S, B> = (F, Box<Sent<S, B>>);

impl<S> Shared<S> {
    pub(super) fn new(stamper: Stamper) -> Self {
        Self {
            stamper,
            spare: Mutex::new(None),
            base: None,
        }
    }

    /// Returns the same, with the tokens of another cache.
    pub(super) fn with_cache(self: Arc<Self>, cache: TokenCache) -> Self {
        let rules = self.stamper.rules.clone();
        Self {
            stamper: Stamper { cache, rules },
            spare: Mutex::new(None),
            base: Some(self),
        }
    }

    fn lock_spare(&self) -> MutexGuard<'_, Option<S>> {
        let spare = match &self.base {
            Some(base) => &base.spare,
            None => &self.spare,
        };
        spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a service aside that was just called, in exchange for the one that was put aside before.
    ///
    /// So a retry goes through a service in use, however long ago the first request was (L39). A service
    /// that was just called reserves nothing, so the one put aside holds no capacity (G39).
    fn put_aside(&self, called: &mut S)
    where
        S: Clone,
    {
        let mut spare = self.lock_spare();
        match &mut *spare {
            Some(spare) => mem::swap(spare, called),
            None => *spare = Some(called.clone()),
        }
    }

    /// Returns a service for a retry, which is not ready yet.
    pub(super) fn spare(&self) -> S
    where
        S: Clone,
    {
        self.lock_spare()
            .as_ref()
            .expect("a service is put aside with each request that may be retried")
            .clone()
    }
}

/// Sends a request for the first time, with the token of `stamp`, through a service that is ready.
#[inline]
pub(super) fn first<S, B, R>(
    shared: Arc<Shared<S>>,
    service: &mut S,
    mut request: Request<B>,
    stamp: Stamp,
) -> Attempt<S::Future, S, B>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    B: Body,
{
    let limit = shared.stamper.rules.replay_limit;
    let mut sent = Sent::new(shared, request.uri(), stamp.generation);
    // The head is copied before it gets the token: a retry gets another one.
    sent.prepare_retry(&request);
    attach(request.headers_mut(), stamp);
    let response = match &mut sent.on_rejection {
        OnRejection::Retry(again) => {
            let response = service.call(request.map(|body| again.replay.record(body, limit)));
            sent.shared.put_aside(service);
            response
        }
        _ => service.call(request.map(ReplayBody::once)),
    };
    (response, sent)
}

/// Sends a request again, with the token of `stamp`, after the one of generation `first` was rejected.
pub(super) fn again<S, B, R>(
    shared: Arc<Shared<S>>,
    mut service: S,
    mut request: Request<ReplayBody<B>>,
    stamp: Stamp,
    first: u64,
) -> Attempt<S::Future, S, B>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
{
    let mut sent = Sent::new(shared, request.uri(), stamp.generation);
    sent.on_rejection = OnRejection::Final { first };
    sent.uri = Some(request.uri().clone());
    attach(request.headers_mut(), stamp);
    let response = service.call(request);
    sent.shared.put_aside(&mut service);
    (response, sent)
}

impl<S, B> Sent<S, B> {
    /// A request that is not sent again.
    fn new(shared: Arc<Shared<S>>, uri: &Uri, generation: u64) -> Box<Self> {
        let asks_where = shared.stamper.rules.final_uri.is_some();
        Box::new(Self {
            shared,
            generation,
            remaining: RequestOptions::NO_MINIMUM,
            uri: None,
            sent_to: asks_where.then(|| Box::new(uri.clone())),
            on_rejection: OnRejection::GiveUp(NotReplayable::TurnedOff),
        })
    }

    /// Copies what a retry needs of a request, unless retries are turned off or its body is too large.
    fn prepare_retry(&mut self, request: &Request<B>)
    where
        B: Body,
    {
        let rules = &self.shared.stamper.rules;
        let options = RequestOptions::of(request);
        self.remaining = options.remaining();
        if rules.retry && options.wants_retry() {
            match Replay::of(request.body(), rules.replay_limit) {
                Ok(replay) => {
                    let head = Head::of(request);
                    self.on_rejection = OnRejection::Retry(Again { head, replay });
                }
                Err(why) => self.on_rejection = OnRejection::GiveUp(why),
            }
        }
        if matches!(self.on_rejection, OnRejection::GiveUp(_)) {
            self.uri = Some(request.uri().clone());
        }
    }

    /// What the request was about, to recognise who rejects tokens.
    #[cold]
    pub(super) fn target(&self) -> Option<Target> {
        let uri = match &self.on_rejection {
            OnRejection::Retry(again) => Some(again.head.uri()),
            _ => self.uri.as_ref(),
        };
        uri.map(Target::of)
    }
}

impl<B> Again<B> {
    /// Checks whether the request could be sent again now.
    pub(super) fn check(&self) -> Result<(), NotReplayable> {
        self.replay.check()
    }

    /// Takes the body from the first attempt and returns the request without a token.
    pub(super) fn into_request(self) -> Result<Request<ReplayBody<B>>, NotReplayable> {
        let body = self.replay.take()?;
        Ok(self.head.into_request(body))
    }
}
