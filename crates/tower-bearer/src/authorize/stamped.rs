use std::{error, fmt};

use http::Response;

use super::body::NotReplayable;
use crate::error::Error;

/// What became of a request that was stamped: in the extensions of its response.
///
/// A response has it if its request's token was rejected, whether or not that was healed; with
/// [`AuthorizeLayer::mark_responses`](crate::AuthorizeLayer::mark_responses) every response to a stamped
/// request has it.
///
/// ```
/// use http::Response;
/// use tower_bearer::Stamped;
///
/// fn explain<B>(response: &Response<B>) -> String {
///     match response.extensions().get::<Stamped>() {
///         None => "the token was taken".into(),
///         Some(stamped) => match stamped.unhealed() {
///             None => format!("token {} was taken", stamped.generation()),
///             Some(why) => format!("token {} was rejected: {why}", stamped.generation()),
///         },
///     }
/// }
/// # assert_eq!(explain(&Response::new(())), "the token was taken");
/// ```
#[derive(Clone, Debug)]
pub struct Stamped {
    generation: u64,
    rejected: Option<u64>,
    unhealed: Option<Unhealed>,
}

impl Stamped {
    /// The request was sent once, and its token was taken.
    pub(crate) fn taken(generation: u64) -> Self {
        Self {
            generation,
            rejected: None,
            unhealed: None,
        }
    }

    /// The token of `rejected` was rejected, and this is the answer to that of `generation`.
    pub(crate) fn after_rejection(
        generation: u64,
        rejected: u64,
        unhealed: Option<Unhealed>,
    ) -> Self {
        Self {
            generation,
            rejected: Some(rejected),
            unhealed,
        }
    }

    /// The token of `generation` was rejected, and the request is not sent again.
    pub(crate) fn unhealed_by(generation: u64, why: Unhealed) -> Self {
        Self::after_rejection(generation, generation, Some(why))
    }

    pub(crate) fn onto<R>(self, mut response: Response<R>) -> Response<R> {
        response.extensions_mut().insert(self);
        response
    }

    /// The generation of the token that this response answers.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The generation of the token that the request was sent with first, if that was rejected.
    #[must_use]
    pub fn rejected(&self) -> Option<u64> {
        self.rejected
    }

    /// Whether the request was sent once more, with another token.
    #[must_use]
    pub fn retried(&self) -> bool {
        self.rejected.is_some_and(|first| first != self.generation)
    }

    /// Why this response is still a rejection; `None` if the token was taken, at once or in the end.
    #[must_use]
    pub fn unhealed(&self) -> Option<&Unhealed> {
        self.unhealed.as_ref()
    }
}

/// Why a rejection reached the caller.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Unhealed {
    /// The request could not be sent again. The token is renewed nevertheless.
    NotReplayed(NotReplayable),
    /// No other token could be had.
    NoToken(Error),
    /// The request was sent again with another token, which was rejected too.
    RejectedAgain,
}

impl fmt::Display for Unhealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReplayed(why) => why.fmt(f),
            Self::NoToken(error) => error.fmt(f),
            Self::RejectedAgain => f.write_str("another token was rejected too"),
        }
    }
}

impl error::Error for Unhealed {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            // The error's own text is this one's too.
            Self::NoToken(error) => error.source(),
            Self::NotReplayed(_) | Self::RejectedAgain => None,
        }
    }
}
