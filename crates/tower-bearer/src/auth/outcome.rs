use std::{error, fmt, sync::Arc};

use http::Response;

use super::replay::NotReplayable;
use crate::error::Error;

/// What became of a request's token. It is in the extensions of the response.
///
/// A response has it if a token was rejected on the way, whether or not a retry succeeded. With
/// [`BearerAuthLayer::mark_responses`](crate::BearerAuthLayer::mark_responses) the response to every stamped
/// request has it.
///
/// ```
/// use http::Response;
/// use tower_bearer::AuthOutcome;
///
/// fn explain<B>(response: &Response<B>) -> String {
///     match response.extensions().get::<AuthOutcome>() {
///         None => "the token was accepted".into(),
///         Some(outcome) => match outcome.not_retried() {
///             None => format!("token {} was accepted", outcome.generation()),
///             Some(why) => format!("token {} was rejected: {why}", outcome.generation()),
///         },
///     }
/// }
/// # assert_eq!(explain(&Response::new(())), "the token was accepted");
/// ```
#[derive(Clone, Debug)]
pub struct AuthOutcome {
    /// The generation that this response answers.
    generation: u64,
    /// The generation that was sent first, if it was rejected.
    rejected: Option<u64>,
    /// Why this response is still a rejection.
    not_retried: Option<NotRetried>,
}

impl AuthOutcome {
    /// The token of `generation` was accepted at the first attempt.
    pub(super) fn accepted(generation: u64) -> Self {
        Self {
            generation,
            rejected: None,
            not_retried: None,
        }
    }

    /// The token of `rejected` was rejected, and this response answers that of `generation`.
    pub(super) fn after_rejection(
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

    /// The token of `generation` was rejected, and the request was not sent again.
    pub(super) fn not_retried_because(generation: u64, why: NotRetried) -> Self {
        Self::after_rejection(generation, generation, Some(why))
    }

    /// Puts the outcome into the response's extensions.
    pub(super) fn onto<R>(self, mut response: Response<R>) -> Response<R> {
        response.extensions_mut().insert(self);
        response
    }

    /// Returns the generation of the token that this response answers.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the generation of the token that the request was sent with first, if it was rejected.
    #[must_use]
    pub fn rejected(&self) -> Option<u64> {
        self.rejected
    }

    /// Returns true if the request was sent a second time, with another token.
    #[must_use]
    pub fn retried(&self) -> bool {
        self.rejected.is_some_and(|first| first != self.generation)
    }

    /// Returns why this response, a rejection, was not followed by a retry; `None` if the response is not
    /// a rejection.
    #[must_use]
    pub fn not_retried(&self) -> Option<&NotRetried> {
        self.not_retried.as_ref()
    }
}

/// Why a rejection was not followed by a retry and reached the caller.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NotRetried {
    /// The request could not be sent again. The token is refreshed nevertheless, for the next one.
    NotReplayed(NotReplayable),
    /// There was no other token.
    NoToken(Error),
    /// There was another token, but the inner service failed before it was ready for a retry. Its error is the
    /// [`source`](error::Error::source).
    NotReady(Arc<dyn error::Error + Send + Sync>),
    /// It was the response to a retry, and a request is retried once.
    RejectedAgain,
}

impl fmt::Display for NotRetried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReplayed(why) => why.fmt(f),
            Self::NoToken(error) => error.fmt(f),
            Self::NotReady(_) => f.write_str("the HTTP client was not ready for a retry"),
            Self::RejectedAgain => f.write_str("another token was rejected too"),
        }
    }
}

impl error::Error for NotRetried {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            // `Display` already shows the error itself, so the chain goes on below it.
            Self::NoToken(error) => error.source(),
            Self::NotReady(error) => Some(&**error),
            Self::NotReplayed(_) | Self::RejectedAgain => None,
        }
    }
}
