use std::{error, fmt};

use http::Response;

use super::body::NotReplayable;
use crate::error::Error;

/// What became of a request that was stamped: in the extensions of its response.
///
/// A response has it if its request's token was rejected, whether or not that was healed; with
/// [`BearerAuthLayer::mark_responses`](crate::BearerAuthLayer::mark_responses) every response to a stamped
/// request has it.
///
/// ```
/// use http::Response;
/// use tower_bearer::AuthOutcome;
///
/// fn explain<B>(response: &Response<B>) -> String {
///     match response.extensions().get::<AuthOutcome>() {
///         None => "the token was taken".into(),
///         Some(stamped) => match stamped.not_retried() {
///             None => format!("token {} was taken", stamped.generation()),
///             Some(why) => format!("token {} was rejected: {why}", stamped.generation()),
///         },
///     }
/// }
/// # assert_eq!(explain(&Response::new(())), "the token was taken");
/// ```
#[derive(Clone, Debug)]
pub struct AuthOutcome {
    generation: u64,
    rejected: Option<u64>,
    not_retried: Option<NotRetried>,
}

impl AuthOutcome {
    /// The request was sent once, and its token was taken.
    pub(crate) fn taken(generation: u64) -> Self {
        Self {
            generation,
            rejected: None,
            not_retried: None,
        }
    }

    /// The token of `rejected` was rejected, and this is the answer to that of `generation`.
    pub(crate) fn after_rejection(
        generation: u64,
        rejected: u64,
        not_retried: Option<NotRetried>,
    ) -> Self {
        Self {
            generation,
            rejected: Some(rejected),
            not_retried,
        }
    }

    /// The token of `generation` was rejected, and the request is not sent again.
    pub(crate) fn not_retried_because(generation: u64, why: NotRetried) -> Self {
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
    pub fn not_retried(&self) -> Option<&NotRetried> {
        self.not_retried.as_ref()
    }
}

/// Why a rejection reached the caller.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NotRetried {
    /// The request could not be sent again. The token is refreshed nevertheless.
    NotReplayed(NotReplayable),
    /// No other token could be had.
    NoToken(Error),
    /// The request was sent again with another token, which was rejected too.
    RejectedAgain,
}

impl fmt::Display for NotRetried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReplayed(why) => why.fmt(f),
            Self::NoToken(error) => error.fmt(f),
            Self::RejectedAgain => f.write_str("another token was rejected too"),
        }
    }
}

impl error::Error for NotRetried {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            // The error's own text is this one's too.
            Self::NoToken(error) => error.source(),
            Self::NotReplayed(_) | Self::RejectedAgain => None,
        }
    }
}
