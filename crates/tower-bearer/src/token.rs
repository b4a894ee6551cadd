//! A bearer token: its secret, ready to be stamped, and what its source states of its lifetime.

use std::{
    error, fmt,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

const SCHEME: &str = "Bearer ";

/// A bearer token.
///
/// A [`TokenSource`](crate::TokenSource) makes one from the secret and states its lifetime; a
/// [`TokenCache`](crate::TokenCache) hands it out with its generation. The token keeps the secret as the
/// finished header value, marked sensitive, in memory that is wiped when the last clone is dropped. It
/// cannot wipe what a connection has copied out of a request's header.
///
/// ```
/// use std::time::Duration;
/// use tower_bearer::Token;
///
/// let token = Token::new("s3cr3t")?.expires_in(Duration::from_secs(3600));
/// assert_eq!(token.expose_secret(), "s3cr3t");
/// assert!(!format!("{token:?}").contains("s3cr3t"));
/// # Ok::<_, tower_bearer::InvalidToken>(())
/// ```
#[derive(Clone)]
pub struct Token {
    header: HeaderValue,
    expires_in: Option<Duration>,
    expires_at: Option<SystemTime>,
    generation: u64,
    /// The cache that has issued it; 0 for none.
    cache: u64,
}

impl Token {
    /// The longest secret, in bytes: 32 KiB. Servers refuse far shorter headers.
    pub const MAX_LEN: usize = 32 * 1024;

    /// Makes a token from its secret.
    ///
    /// # Errors
    ///
    /// If the secret is empty, longer than [`MAX_LEN`](Self::MAX_LEN), or holds anything but visible
    /// ASCII characters (a space or a line break, for example).
    pub fn new(secret: impl Into<String>) -> Result<Self, InvalidToken> {
        let secret = Zeroizing::new(secret.into());
        if secret.is_empty() {
            return Err(InvalidToken(InvalidTokenKind::Empty));
        }
        if secret.len() > Self::MAX_LEN {
            return Err(InvalidToken(InvalidTokenKind::TooLong(secret.len())));
        }
        if let Some(position) = secret.bytes().position(|byte| !byte.is_ascii_graphic()) {
            return Err(InvalidToken(InvalidTokenKind::Character(position)));
        }
        let mut line = Zeroizing::new(Vec::with_capacity(SCHEME.len() + secret.len()));
        line.extend_from_slice(SCHEME.as_bytes());
        line.extend_from_slice(secret.as_bytes());
        let header = header_value(line).ok_or(InvalidToken(InvalidTokenKind::Character(0)))?;
        Ok(Self {
            header,
            expires_in: None,
            expires_at: None,
            generation: 0,
            cache: 0,
        })
    }

    /// Sets how long the token lives, counted from the moment its request was sent.
    ///
    /// Defaults to unknown: the cache then uses
    /// [`DEFAULT_LIFETIME`](crate::TokenCache::DEFAULT_LIFETIME). If
    /// [`expires_at`](Self::expires_at) is set too, the earlier counts.
    #[must_use]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.expires_in = Some(lifetime);
        self
    }

    /// Sets the time of day at which the token expires.
    ///
    /// Defaults to unknown. Prefer [`expires_in`](Self::expires_in): a wrong clock does not harm it.
    #[must_use]
    pub fn expires_at(mut self, at: SystemTime) -> Self {
        self.expires_at = Some(at);
        self
    }

    /// Returns the finished value for an `Authorization` header, marked sensitive.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        self.header.clone()
    }

    /// The same value with a reference count of its own. The bytes are shared.
    pub(crate) fn recounted_header_value(&self) -> HeaderValue {
        // The bytes of a header's value are always valid for another one.
        header_value(self.header.clone()).unwrap_or_else(|| self.header.clone())
    }

    /// Returns the secret itself. Mind where it goes.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        // `new` took visible ASCII only, so the value is a string and longer than the scheme.
        self.header
            .to_str()
            .map_or("", |line| &line[SCHEME.len()..])
    }

    /// Returns a number that grows with each token that a cache publishes; 0 before that. The same bytes
    /// keep their number.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The token as the cache with this id hands it out.
    pub(crate) fn issued(mut self, cache: u64, generation: u64) -> Self {
        self.cache = cache;
        self.generation = generation;
        self
    }

    /// The id of the cache that handed it out; 0 if none did. Generations are compared within one cache only.
    pub(crate) fn cache(&self) -> u64 {
        self.cache
    }

    /// The header's value, to be hashed.
    pub(crate) fn header_bytes(&self) -> &[u8] {
        self.header.as_bytes()
    }

    pub(crate) fn same_secret(&self, other: &Self) -> bool {
        self.header.as_bytes() == other.header.as_bytes()
    }

    pub(crate) fn stated_lifetime(&self) -> (Option<Duration>, Option<SystemTime>) {
        (self.expires_in, self.expires_at)
    }
}

/// Makes a sensitive value that keeps `line` until its last clone is dropped.
fn header_value(line: impl AsRef<[u8]> + Send + 'static) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(line)).ok()?;
    header.set_sensitive(true);
    Some(header)
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("generation", &self.generation)
            .field("expires_in", &self.expires_in)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Why a text cannot be a bearer token. It never shows the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidToken(InvalidTokenKind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum InvalidTokenKind {
    Empty,
    TooLong(usize),
    Character(usize),
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            InvalidTokenKind::Empty => f.write_str("the token is empty"),
            InvalidTokenKind::TooLong(len) => write!(
                f,
                "the token is {len} bytes long, more than the {} that are taken",
                Token::MAX_LEN
            ),
            InvalidTokenKind::Character(position) => write!(
                f,
                "the token holds a character that may not stand in a header (at byte {position})"
            ),
        }
    }
}

impl error::Error for InvalidToken {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e06_a_token_that_is_no_header_is_refused_and_not_shown() {
        for (secret, says) in [
            (String::new(), "the token is empty"),
            (
                "a\r\nX-Evil: 1".into(),
                "may not stand in a header (at byte 1)",
            ),
            ("two words".into(), "may not stand in a header (at byte 3)"),
            ("caf\u{e9}".into(), "may not stand in a header (at byte 3)"),
            (
                "x".repeat(1 << 20),
                "1048576 bytes long, more than the 32768",
            ),
        ] {
            let error = Token::new(secret.clone()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert!(secret.is_empty() || !error.contains(&secret));
        }
        assert!(Token::new("x".repeat(Token::MAX_LEN)).is_ok());
    }

    #[test]
    fn f03_the_header_is_sensitive_and_debug_shows_no_secret() {
        let token = Token::new("s3cr3t").unwrap();
        assert!(token.header_value().is_sensitive());
        assert_eq!(token.header_value().as_bytes(), b"Bearer s3cr3t");
        for shown in [format!("{token:?}"), format!("{token:#?}")] {
            assert!(!shown.contains("s3cr3t"), "{shown}");
        }
        assert!(!format!("{:?}", token.header_value()).contains("s3cr3t"));
    }
}
