use http::{Response, StatusCode};

use super::body::NotReplayable;
use crate::error::Error;

/// What became of a request whose token was rejected: in the extensions of its response.
///
/// A response without it was given to a token that was not rejected, or to a request that carried
/// none of ours.
///
/// ```
/// use http::Response;
/// use tower_bearer::Rejection;
///
/// fn explain<B>(response: &Response<B>) -> String {
///     match response.extensions().get::<Rejection>() {
///         None => "the token was taken".into(),
///         Some(rejection) => match rejection.unhealed() {
///             None => "a new token was taken".into(),
///             Some(why) => format!("still rejected: {why}"),
///         },
///     }
/// }
/// # assert_eq!(explain(&Response::new(())), "the token was taken");
/// ```
#[derive(Clone, Debug)]
pub struct Rejection {
    generation: u64,
    unhealed: Option<Unhealed>,
}

impl Rejection {
    pub(crate) fn new(generation: u64, unhealed: Option<Unhealed>) -> Self {
        Self {
            generation,
            unhealed,
        }
    }

    /// The generation of the token that was rejected first.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Why this response is still the rejection; `None` if the request was sent again and taken.
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

impl std::fmt::Display for Unhealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotReplayed(why) => why.fmt(f),
            Self::NoToken(error) => error.fmt(f),
            Self::RejectedAgain => f.write_str("another token was rejected too"),
        }
    }
}

impl std::error::Error for Unhealed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // The error's own text is this one's too.
            Self::NoToken(error) => error.source(),
            Self::NotReplayed(_) | Self::RejectedAgain => None,
        }
    }
}

/// Whether a response means that the token was rejected.
pub(crate) fn is_rejection<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::UNAUTHORIZED
}
