//! Decides whether a request gets a token, and writes the `Authorization` header.

use std::sync::Arc;

use http::{HeaderMap, Request, Uri, header::AUTHORIZATION, response};

use super::{
    hops::{self, Pair},
    options::RequestOptions,
    origins::{Origins, Route},
};
use crate::{
    cache::TokenCache,
    error::Error,
    refresh::{Look, Stamp, Want},
};

/// The tokens of a layer, and its rules about them.
#[derive(Clone, Debug)]
pub(super) struct Stamper {
    /// Where the tokens come from.
    pub(super) cache: TokenCache,
    /// Which requests get one, and what their responses mean.
    pub(super) rules: Arc<Rules>,
}

/// What [`BearerAuthLayer`](super::layer::BearerAuthLayer) was configured with.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Where the token may go.
    pub(super) origins: Origins,
    /// A caller's own `Authorization` header is removed, instead of being left alone.
    pub(super) overwrite: bool,
    /// A request whose token was rejected is sent once more.
    pub(super) retry: bool,
    /// A response that rejects the token is dropped before its request waits for another one.
    pub(super) drop_rejected: bool,
    /// The most bytes of a request's body that are kept for a retry.
    pub(super) replay_limit: usize,
    /// Every response to a stamped request gets an `AuthOutcome`, not only those after a rejection.
    pub(super) mark_responses: bool,
    /// Finds further responses that reject the token.
    pub(super) reject_when: Option<fn(&response::Parts) -> bool>,
    /// Returns where a response came from, if a client inside the layer follows redirects.
    pub(super) final_uri: Option<fn(&response::Parts) -> Option<&Uri>>,
    /// Requests are hops of requests that the outer half of this layer knows.
    pub(super) hops: Option<Pair>,
}

/// What happens to a request.
#[derive(Debug)]
pub(super) enum Plan {
    /// It is sent at once, with this token.
    Send(Stamp),
    /// It has to wait for a token.
    Wait(Look),
    /// It is sent as it is: it gets no token.
    Pass,
    /// It is not sent.
    Refuse(Error),
}

impl Stamper {
    /// Returns the stamp for a request that needs no closer look, as most do: its origin is written as
    /// the layer expects, it has neither options nor a header that needs a look, and the token is fresh.
    pub(super) fn plain_stamp<B>(&self, request: &Request<B>) -> Option<Stamp> {
        let is_plain = self.rules.hops.is_none()
            && self.rules.origins.plainly_allow(request.uri())
            && !RequestOptions::are_in(request)
            && !request.headers().contains_key(AUTHORIZATION)
            && Origins::plainly_agree(request.uri(), request.headers());
        match is_plain {
            true => self.cache.core().fresh(RequestOptions::NO_MINIMUM),
            false => None,
        }
    }

    /// Gives a request back what it lost on its way through a layer that follows redirects. Returns true if it has,
    /// or had, an `Authorization` header of the caller's own.
    ///
    /// # Errors
    ///
    /// If it cannot be known what it lost.
    pub(super) fn restore<B>(&self, request: &mut Request<B>) -> Result<bool, Error> {
        match self.rules.hops {
            Some(pair) => hops::recall(pair, request),
            None => Ok(request.headers().contains_key(AUTHORIZATION)),
        }
    }

    /// Decides what happens to a request. `has_own` is what [`restore`](Self::restore) returned.
    pub(super) fn plan<B>(&self, request: &Request<B>, has_own: bool) -> Plan {
        let options = RequestOptions::of(request);
        if !options.wants_token() {
            return Plan::Pass;
        }
        match self.rules.origins.route(request.uri()) {
            // The caller's own header wins (G27).
            Ok(Route::Stamp) if !has_own => {}
            Ok(_) => return Plan::Pass,
            Err(error) => return Plan::Refuse(error),
        }
        let origins = &self.rules.origins;
        if let Err(error) = origins.check_host(request.uri(), request.headers()) {
            return Plan::Refuse(error);
        }
        match self.cache.core().look(Want::lasting(options.remaining())) {
            Look::Serve(token) => Plan::Send(token.into()),
            look => Plan::Wait(look),
        }
    }

    /// Removes the caller's own header, if the layer overwrites it.
    pub(super) fn clear(&self, headers: &mut HeaderMap) {
        if self.rules.overwrite {
            headers.remove(AUTHORIZATION);
        }
    }
}

/// Writes the token into a request's headers, which have none yet, and returns its generation.
#[inline]
pub(super) fn attach(headers: &mut HeaderMap, stamp: Stamp) -> u64 {
    headers.insert(AUTHORIZATION, stamp.header);
    stamp.generation
}
