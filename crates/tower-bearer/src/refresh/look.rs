//! Who looks for a token, and what the look finds.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;

use crate::{error::Error, token::Token};

use super::{in_flight::InFlight, target::Target};

/// What a look for a token finds.
#[derive(Debug)]
pub(crate) enum Look {
    /// A token to use now.
    Serve(Token),
    /// A refresh to wait for, at most so long; then look again.
    Wait {
        refresh: Arc<InFlight>,
        at_most: Duration,
        /// A rejected or short-lived token may be served if the refresh fails (G38).
        fallback: bool,
    },
    /// No token, and why.
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

/// What a caller wants of a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    /// The generation that the caller saw rejected and is never handed again (G13).
    pub(super) avoid: Option<u64>,
    /// This look reports the rejection of `avoid`.
    pub(super) rejects: bool,
    /// Which target rejected it, where that is known.
    pub(super) target: Option<Target>,
    /// The caller has waited for a refresh that brought a token.
    pub(super) refreshed: bool,
    /// Only a token that a refresh brings from now on, never the one that is there already.
    pub(super) force: bool,
    /// How long the token should be usable from now on, if such a token can be had.
    pub(super) remaining: Duration,
}

impl Want {
    pub(crate) const ANY: Self = Self {
        avoid: None,
        rejects: false,
        target: None,
        refreshed: false,
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

    /// Whether the caller saw a token rejected.
    pub(super) fn is_after_rejection(self) -> bool {
        self.avoid.is_some()
    }

    /// Says which target rejected the token, if that is known.
    pub(crate) fn about(self, target: Option<Target>) -> Self {
        Self { target, ..self }
    }

    /// Wants another token than that of `generation`, and says that a server rejected that one.
    pub(super) fn rejecting(self, generation: u64) -> Self {
        Self {
            rejects: true,
            ..self.other_than(generation)
        }
    }

    /// The same want after a refresh has brought a token: that one will do, however long it lasts.
    pub(crate) fn after_refresh(self) -> Self {
        Self {
            force: false,
            refreshed: true,
            remaining: Duration::ZERO,
            ..self
        }
    }
}
