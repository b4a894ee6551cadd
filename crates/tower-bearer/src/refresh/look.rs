//! Who looks for a token, and what is found.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;

use crate::{error::Error, token::Token};

use super::{cell::Entry, in_flight::InFlight};

/// What a caller gets who looks for a token.
#[derive(Debug)]
pub(crate) enum Look {
    Serve(Token),
    /// Wait for this refresh, `at_most` so long, then look again.
    Wait {
        refresh: Arc<InFlight>,
        at_most: Duration,
        /// Whether a rejected token may be served if the refresh fails.
        fallback: bool,
    },
    Fail(Error),
}

/// What a request is stamped with.
#[derive(Debug)]
pub(crate) struct Stamp {
    pub(crate) header: HeaderValue,
    pub(crate) generation: u64,
}

impl From<Token> for Stamp {
    fn from(token: Token) -> Self {
        Self {
            header: token.header_value(),
            generation: token.generation(),
        }
    }
}

/// Who looks, and what for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    /// The generation that the caller saw rejected and is never handed again (G13).
    pub(super) avoid: Option<u64>,
    /// Only a refresh's result will do; never what stands in the cell already.
    pub(super) force: bool,
    /// How long the token should be of use from now on, if that can be had.
    pub(super) remaining: Duration,
}

impl Want {
    /// Whether the entry that stands in the cell already will do.
    pub(super) fn takes(self, entry: &Entry) -> bool {
        !self.force && self.may_have(entry)
    }

    /// Whether this caller may be handed that entry at all.
    pub(crate) fn may_have(self, entry: &Entry) -> bool {
        self.avoid != Some(entry.generation())
    }

    pub(crate) const ANY: Self = Self {
        avoid: None,
        force: false,
        remaining: Duration::ZERO,
    };

    pub(crate) const NEW: Self = Self {
        force: true,
        ..Self::ANY
    };

    pub(crate) fn lasting(remaining: Duration) -> Self {
        Self {
            remaining,
            ..Self::ANY
        }
    }

    pub(crate) fn other_than(self, generation: u64) -> Self {
        Self {
            avoid: Some(generation),
            ..self
        }
    }
}
