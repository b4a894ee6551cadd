//! An origin: scheme, host and port, in one form.

use std::{borrow::Cow, error, fmt};

use http::{
    Uri,
    uri::{Authority, Scheme},
};

use super::host;
use crate::foreign_text::ForeignText;

/// A scheme, a host and a port (RFC 6454, section 4).
///
/// The host is kept in lower case and without a trailing dot, an address as it is usually written, and the port is
/// always known. So two ways to write the same origin are equal. `wss` is `https` here, and `ws` is `http`, because
/// a WebSocket begins as a request over HTTP.
///
/// ```
/// use tower_bearer::auth::Origin;
///
/// let origin = Origin::parse("https://API.example.:443/api/v1")?;
/// assert_eq!(origin, Origin::parse("https://api.example")?);
/// assert_eq!(origin, Origin::parse("wss://api.example")?);
/// assert_eq!(origin.to_string(), "https://api.example");
/// assert!(!Origin::parse("http://api.example")?.is_safe());
/// assert_eq!(Origin::parse("http://[0:0:0:0:0:0:0:1]")?, Origin::parse("http://[::1]")?);
/// # Ok::<_, tower_bearer::InvalidOrigin>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    pub(super) secure: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Origin {
    /// Parses an origin, or a URL of which only the origin counts.
    ///
    /// # Errors
    ///
    /// If the text is not a URL of HTTP or of a WebSocket with a host, the host is not ASCII, or the URL has a user
    /// name.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        let invalid = |flaw| InvalidOrigin::new(text, flaw);
        if !text.is_ascii() {
            return Err(invalid(InvalidOriginKind::NotAscii));
        }
        // A password may contain a slash, so the sign counts anywhere, and the error shows nothing.
        if text.contains('@') {
            return Err(InvalidOrigin::new("", InvalidOriginKind::Userinfo));
        }
        if has_other_scheme(text) {
            return Err(invalid(InvalidOriginKind::Scheme));
        }
        if shown(text).contains('*') {
            return Err(invalid(InvalidOriginKind::Star));
        }
        let uri: Uri = text
            .parse()
            .map_err(|_| invalid(InvalidOriginKind::NotAUrl))?;
        Self::of(&uri)
            .filter(|it| it.port != 0 && host::canonical(&it.host).is_some())
            .ok_or_else(|| invalid(InvalidOriginKind::NotAUrl))
    }

    /// Does the same for a URL that requests are sent to over HTTP: it may not be a WebSocket's.
    #[cfg(feature = "oauth2")]
    pub(crate) fn parse_http(text: &str) -> Result<Self, InvalidOrigin> {
        let origin = Self::parse(text)?;
        match text.as_bytes().first() {
            Some(b'w' | b'W') => Err(InvalidOrigin::new(text, InvalidOriginKind::NotAUrl)),
            _ => Ok(origin),
        }
    }

    /// Returns the origin that a request to `uri` goes to, if the URI names one that is reached over HTTP.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let (secure, authority) = parts(uri)?;
        Some(Self {
            secure,
            host: match host::canonical(authority.host()) {
                Some(host) => host.into_owned(),
                // It is no canonical host, so it is equal to none.
                None => authority.host().to_ascii_lowercase(),
            },
            port: port(authority, secure),
        })
    }

    /// Returns the authority as most requests write it: the host, and the port unless it is the scheme's default.
    pub(super) fn authority(&self) -> String {
        let text = self.to_string();
        text.split_once("://")
            .map_or_else(String::new, |(_, rest)| rest.to_owned())
    }

    /// Returns true if a request to `uri` goes here.
    pub(super) fn is_of(&self, uri: &Uri) -> bool {
        parts(uri).is_some_and(|(secure, authority)| {
            secure == self.secure
                && port(authority, secure) == self.port
                && host::canonical(authority.host()).is_some_and(|host| host == *self.host)
        })
    }

    /// Returns true if a `Host` header names this origin's host and port (RFC 9110, section 7.2).
    pub(super) fn is_named_by(&self, header: &[u8]) -> bool {
        let Ok(authority) = Authority::try_from(header) else {
            return false;
        };
        !authority.as_str().contains('@')
            && is_well_formed(&authority)
            && port(&authority, self.secure) == self.port
            && host::canonical(authority.host()).is_some_and(|host| host == *self.host)
    }

    /// Returns true if a token is safe on the way here: over TLS, or without leaving the machine.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.secure || host::is_loopback(&self.host)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns whether a scheme is reached over TLS; `None` if it is not one of HTTP.
pub(super) fn is_secure(scheme: &Scheme) -> Option<bool> {
    let text = scheme.as_str();
    let is = |name: &str| text.eq_ignore_ascii_case(name);
    if is("https") || is("wss") {
        return Some(true);
    }
    (is("http") || is("ws")).then_some(false)
}

/// Returns whether the URI is reached over TLS, and its authority, if both are valid.
fn parts(uri: &Uri) -> Option<(bool, &Authority)> {
    let secure = is_secure(uri.scheme()?)?;
    let authority = uri.authority()?;
    is_well_formed(authority).then_some((secure, authority))
}

/// Returns true if an authority has a host, and a port that is one if there is any: the http crate accepts
/// `host:port` and `host:99999`, and then returns no port.
fn is_well_formed(authority: &Authority) -> bool {
    let text = authority.as_str();
    let after_user = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    let Some(port) = after_user.strip_prefix(authority.host()) else {
        return false;
    };
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| {
            digits.bytes().all(|byte| byte.is_ascii_digit())
                && (digits.is_empty() || authority.port_u16().is_some())
        });
    let bare = authority.host().trim_end_matches('.');
    !bare.is_empty() && bare != "[]" && is_port
}

fn port(authority: &Authority, secure: bool) -> u16 {
    let default = if secure { 443 } else { 80 };
    authority.port_u16().unwrap_or(default)
}

/// Returns true if a text begins with a scheme that is not one of HTTP.
fn has_other_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else {
        return false;
    };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let of_http = ["http", "https", "ws", "wss"];
    is_scheme && !of_http.iter().any(|it| it.eq_ignore_ascii_case(scheme))
}

/// Returns what an error may show of a text: its origin only.
fn shown(text: &str) -> &str {
    let after_scheme = text.find("://").map_or(0, |at| at + 3);
    let rest = &text[after_scheme..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    &text[..after_scheme + end]
}

/// The error of a text that is not an origin, or not one that a token may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOrigin {
    text: Cow<'static, str>,
    flaw: InvalidOriginKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidOriginKind {
    NotAUrl,
    NotAscii,
    Userinfo,
    /// Its scheme is not one of HTTP.
    Scheme,
    /// A `*` where it cannot stand for a label.
    Star,
    /// A pattern that covers the names of many owners.
    Shared,
    Insecure,
    #[cfg(feature = "oauth2")]
    InsecureEndpoint,
}

impl InvalidOrigin {
    /// The error of a text. Of a URL only the origin is shown.
    pub(super) fn new(text: &str, flaw: InvalidOriginKind) -> Self {
        let text = match flaw {
            InvalidOriginKind::Userinfo => Cow::Borrowed(""),
            _ => ForeignText::new(shown(text)).to_string().into(),
        };
        Self { text, flaw }
    }

    /// The same error of a longer text, which contains the one that was parsed.
    pub(super) fn about(self, text: &str) -> Self {
        Self::new(text, self.flaw)
    }

    /// The error of an origin that a token would go to without TLS.
    pub(super) fn insecure(origin: &impl fmt::Display) -> Self {
        Self {
            text: origin.to_string().into(),
            flaw: InvalidOriginKind::Insecure,
        }
    }

    /// The error of a token endpoint that is reached without TLS.
    #[cfg(feature = "oauth2")]
    pub(crate) fn insecure_endpoint(origin: &Origin) -> Self {
        Self {
            text: origin.to_string().into(),
            flaw: InvalidOriginKind::InsecureEndpoint,
        }
    }

    #[cfg(feature = "oauth2")]
    pub(crate) fn not_a_url(text: &str) -> Self {
        Self::new(text, InvalidOriginKind::NotAUrl)
    }
}

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        match self.flaw {
            InvalidOriginKind::NotAUrl => write!(
                f,
                "{text} is not an origin: write it like https://api.example or https://api.example:8443"
            ),
            InvalidOriginKind::NotAscii => write!(
                f,
                "the host in {text} is not ASCII: write it in punycode (xn--…)"
            ),
            InvalidOriginKind::Userinfo => write!(
                f,
                "the URL contains a user name or a password: leave them out"
            ),
            InvalidOriginKind::Scheme => write!(
                f,
                "{text} is not an origin that a token can go to: its scheme must be https, http, wss or ws"
            ),
            InvalidOriginKind::Star => write!(
                f,
                "{text} is not an origin: a * may only be the whole first label of a host that the \
                 layer allows, like https://*.acme.example"
            ),
            InvalidOriginKind::Shared => write!(
                f,
                "{text} would allow the hosts of many owners: write more of the name, like \
                 https://*.acme.example"
            ),
            InvalidOriginKind::Insecure => write!(
                f,
                "a token would go to {text} without TLS: use https, or allow it with allow_insecure"
            ),
            #[cfg(feature = "oauth2")]
            InvalidOriginKind::InsecureEndpoint => write!(
                f,
                "the client's secret would go to {text} without TLS: use https, or \
                 Endpoint::new_insecure"
            ),
        }
    }
}

impl error::Error for InvalidOrigin {}

#[cfg(test)]
mod tests;
