//! Why a client gets no token.

/// Why a client gets no token, and the application or user that asked, if that is known.
#[derive(Debug)]
pub(crate) struct GrantError {
    pub(crate) reason: Reason,
    pub(crate) client: Option<String>,
}

#[derive(Debug)]
pub(crate) enum Reason {
    /// The client is unknown, or its secret is wrong.
    Client,
    /// The user is unknown, or the password is wrong.
    Password,
    /// The refresh token is unknown, or belongs to another client.
    RefreshToken,
    /// The refresh token was used or has expired, or its session has ended.
    SessionEnded,
    /// The authorization code is unknown or was used, or belongs to another client or redirect URI.
    Code,
    /// The code has a challenge, and the verifier is missing or does not fit.
    Verifier,
    /// The external token is unknown.
    ExternalToken,
    /// The fake itself failed.
    Internal(String),
}

impl Reason {
    pub(crate) fn for_client(self, client: Option<&str>) -> GrantError {
        GrantError {
            reason: self,
            client: client.map(str::to_owned),
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Client => "Invalid client credentials",
            Self::Password => "Invalid user credentials",
            Self::RefreshToken => "Invalid refresh token",
            Self::SessionEnded => "Session not active",
            Self::Code => "Code not valid",
            Self::Verifier => "PKCE verification failed",
            Self::ExternalToken => "Invalid external token",
            Self::Internal(error) => error,
        }
    }
}
