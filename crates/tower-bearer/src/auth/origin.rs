//! Origins, to which a token may go: scheme, host and port, normalised and compared whole.

use std::{
    error, fmt,
    net::{IpAddr, Ipv6Addr},
};

use http::{
    Uri,
    uri::{Authority, Scheme},
};

use crate::{
    error::{Error, Kind},
    foreign_text::ForeignText,
};

/// A scheme, a host and a port (RFC 6454, section 4).
///
/// The host is kept in lower case and without a trailing dot, and the port is always known, so two ways to
/// write the same origin are equal.
///
/// ```
/// use tower_bearer::auth::Origin;
///
/// let origin = Origin::parse("https://API.example.:443/api/v1")?;
/// assert_eq!(origin, Origin::parse("https://api.example")?);
/// assert_eq!(origin.to_string(), "https://api.example");
/// assert!(!Origin::parse("http://api.example")?.is_safe());
/// # Ok::<_, tower_bearer::InvalidOrigin>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// Parses an origin, or a URL of which only the origin counts.
    ///
    /// # Errors
    ///
    /// If the text is not an `http` or `https` URL with a host, the host is not ASCII, or the URL has a user
    /// name.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        let invalid = |flaw| InvalidOrigin {
            text: shown(text),
            flaw,
        };
        if !text.is_ascii() {
            return Err(invalid(Flaw::NotAscii));
        }
        // A password may contain a slash, so the sign counts anywhere, and the error shows nothing.
        if text.contains('@') {
            return Err(InvalidOrigin {
                text: String::new(),
                flaw: Flaw::Userinfo,
            });
        }
        let uri: Uri = text.parse().map_err(|_| invalid(Flaw::NotAUrl))?;
        Self::of(&uri)
            .filter(|origin| is_host(&origin.host))
            .ok_or_else(|| invalid(Flaw::NotAUrl))
    }

    /// Returns the origin that a request to `uri` goes to, if the URI names it.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let (secure, authority) = parts(uri)?;
        Some(Self {
            secure,
            host: host(authority).to_ascii_lowercase(),
            port: port(authority, secure),
        })
    }

    /// Returns the authority as most requests write it: the host, and the port unless it is the scheme's default.
    fn authority(&self) -> String {
        let text = self.to_string();
        text.split_once("://")
            .map_or_else(String::new, |(_, rest)| rest.to_owned())
    }

    /// Returns true if a request to `uri` goes here. It does not allocate.
    fn is_of(&self, uri: &Uri) -> bool {
        parts(uri).is_some_and(|(secure, authority)| {
            secure == self.secure
                && port(authority, secure) == self.port
                && host(authority).eq_ignore_ascii_case(&self.host)
        })
    }

    /// Returns true if a token is safe on the way here: over TLS, or without leaving the machine.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.secure || is_loopback(&self.host)
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

/// Returns whether the URI is reached over TLS, and its authority, if both are valid.
fn parts(uri: &Uri) -> Option<(bool, &Authority)> {
    let secure = match uri.scheme()? {
        scheme if *scheme == Scheme::HTTPS => true,
        scheme if *scheme == Scheme::HTTP => false,
        _ => return None,
    };
    let authority = uri.authority()?;
    // The http crate accepts `host:port` and `host:99999`, and then returns no port.
    let text = authority.as_str();
    let after_user = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    let port = after_user.strip_prefix(authority.host())?;
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| {
            digits.bytes().all(|byte| byte.is_ascii_digit())
                && (digits.is_empty() || authority.port_u16().is_some())
        });
    let bare = host(authority);
    (!bare.is_empty() && bare != "[]" && is_port).then_some((secure, authority))
}

/// Returns the host without user information, port and trailing dot.
fn host(authority: &Authority) -> &str {
    let host = authority.host();
    host.strip_suffix('.').unwrap_or(host)
}

fn port(authority: &Authority, secure: bool) -> u16 {
    let default = if secure { 443 } else { 80 };
    authority.port_u16().unwrap_or(default)
}

/// Only `localhost` itself: a resolver may lead other names below it anywhere.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Returns what an error may show of a text: its origin only.
fn shown(text: &str) -> String {
    let after_scheme = text.find("://").map_or(0, |at| at + 3);
    let rest = &text[after_scheme..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    ForeignText::new(&text[..after_scheme + end]).to_string()
}

/// Returns true if a host can be a name or an address.
fn is_host(host: &str) -> bool {
    match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.contains(|c: char| c.is_ascii_alphanumeric()) && !host.contains(".."),
    }
}

/// The error of a text that is not an origin, or not one that a token may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOrigin {
    text: String,
    flaw: Flaw,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Flaw {
    NotAUrl,
    NotAscii,
    Userinfo,
    Insecure,
    #[cfg(feature = "oauth2")]
    InsecureEndpoint,
}

#[cfg(feature = "oauth2")]
impl InvalidOrigin {
    /// The error of a token endpoint that is reached without TLS.
    pub(crate) fn insecure_endpoint(origin: &Origin) -> Self {
        Self {
            text: origin.to_string(),
            flaw: Flaw::InsecureEndpoint,
        }
    }

    pub(crate) fn not_a_url(text: &str) -> Self {
        Self {
            text: shown(text),
            flaw: Flaw::NotAUrl,
        }
    }
}

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        match self.flaw {
            Flaw::NotAUrl => write!(
                f,
                "{text} is not an origin: write it like https://api.example or https://api.example:8443"
            ),
            Flaw::NotAscii => write!(
                f,
                "the host in {text} is not ASCII: write it in punycode (xn--…)"
            ),
            Flaw::Userinfo => write!(
                f,
                "the URL contains a user name or a password: leave them out"
            ),
            Flaw::Insecure => write!(
                f,
                "a token would go to {text} without TLS: use https, or allow it with allow_insecure"
            ),
            #[cfg(feature = "oauth2")]
            Flaw::InsecureEndpoint => write!(
                f,
                "the client's secret would go to {text} without TLS: use https, or \
                 Endpoint::new_insecure"
            ),
        }
    }
}

impl error::Error for InvalidOrigin {}

/// The origins of a layer, and what happens to requests for others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    /// Each allowed origin as most requests write it: whether it is reached over TLS, and the authority. These
    /// are compared first, because taking a URI apart costs more than everything else that happens to a request.
    plain: Vec<(bool, String)>,
    /// The origins that the token may go to.
    allowed: Vec<Origin>,
    /// Where requests go whose URI does not name an origin.
    assumed: Option<Origin>,
    /// Requests to other origins are sent without a token, instead of being refused.
    pass_others: bool,
}

/// How a request to an origin is sent.
#[derive(Debug)]
pub(crate) enum Route {
    /// With a token.
    Stamp,
    /// Without a token.
    Pass,
}

impl Origins {
    pub(crate) fn allow(&mut self, text: &str) -> Result<(), InvalidOrigin> {
        let origin = Origin::parse(text)?;
        if !origin.is_safe() {
            return Err(InvalidOrigin {
                text: origin.to_string(),
                flaw: Flaw::Insecure,
            });
        }
        self.allow_origin(origin);
        Ok(())
    }

    pub(crate) fn allow_origin(&mut self, origin: Origin) {
        self.plain.push((origin.secure, origin.authority()));
        self.allowed.push(origin);
    }

    /// Fast path: returns true if the URI is written as most requests write an allowed origin.
    #[inline]
    pub(crate) fn plainly_allow(&self, uri: &Uri) -> bool {
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return false,
        };
        let text = uri.authority().map(Authority::as_str);
        self.plain
            .iter()
            .any(|(plain, written)| secure == *plain && text == Some(written))
    }

    pub(crate) fn assume(&mut self, text: &str) -> Result<(), InvalidOrigin> {
        self.assumed = Some(Origin::parse(text)?);
        Ok(())
    }

    pub(crate) fn pass_others(&mut self) {
        self.pass_others = true;
    }

    /// Returns true if two URIs have the same origin. A URI that does not name one has the assumed one.
    pub(crate) fn are_one(&self, a: &Uri, b: &Uri) -> bool {
        let origin = |uri: &Uri| match uri.authority() {
            Some(_) => Origin::of(uri),
            None => self.assumed.clone(),
        };
        origin(a).is_some_and(|a| origin(b) == Some(a))
    }

    /// Decides how a request to `uri` is sent.
    ///
    /// # Errors
    ///
    /// If it may not be sent.
    pub(crate) fn route(&self, uri: &Uri) -> Result<Route, Error> {
        if self.plainly_allow(uri) {
            return Ok(Route::Stamp);
        }
        if self.allowed.iter().any(|origin| origin.is_of(uri)) {
            return Ok(Route::Stamp);
        }
        let stated = if uri.authority().is_none() {
            let assumed = self.assumed.as_ref();
            if assumed.is_some_and(|it| self.allowed.contains(it)) {
                return Ok(Route::Stamp);
            }
            assumed.cloned()
        } else {
            Origin::of(uri)
        };
        let Some(origin) = stated else {
            return Err(Error::new(Kind::NoOrigin));
        };
        if self.pass_others {
            return Ok(Route::Pass);
        }
        // If the https origin of the same host is allowed, the missing TLS is the reason.
        let insecure = !origin.is_safe()
            && self
                .allowed
                .iter()
                .any(|allowed| allowed.secure && allowed.host == origin.host);
        let named = origin.to_string();
        Err(Error::new(if insecure {
            Kind::Insecure(named)
        } else {
            Kind::OriginNotAllowed(named)
        }))
    }
}

#[cfg(test)]
mod tests;
