//! The origins that a layer's token may go to, and what happens to requests for others.

use std::fmt;

use http::{HeaderMap, Uri, header::HOST, uri::Authority};

use super::{
    host,
    origin::{InvalidOrigin, InvalidOriginKind, Origin, is_secure},
};
use crate::{
    error::{Error, Kind},
    foreign_text::ForeignText,
};

/// The origins of a layer, and what happens to requests for others.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    /// Each allowed origin as most requests write it: whether it is reached over TLS, and the authority. These
    /// are compared first, because taking a URI apart costs more than everything else that happens to a request.
    plain: Vec<(bool, String)>,
    /// The origins that the token may go to.
    allowed: Vec<Pattern>,
    /// Where requests go whose URI does not name an origin.
    assumed: Option<Origin>,
    /// Requests to other origins are sent without a token, instead of being refused.
    pass_others: bool,
}

/// An origin, or the origins whose hosts have exactly one more label in front.
#[derive(Clone, PartialEq, Eq)]
struct Pattern {
    origin: Origin,
    any_label: bool,
}

/// How a request to an origin is sent.
#[derive(Debug)]
pub(super) enum Route {
    /// With a token.
    Stamp,
    /// Without a token.
    Pass,
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        let (origin, any_label) = match text.split_once("://*.") {
            Some((scheme, rest)) => (Origin::parse(&format!("{scheme}://{rest}")), true),
            None => (Origin::parse(text), false),
        };
        let origin = origin.map_err(|error| error.about(text))?;
        if any_label && host::is_shared(&origin.host) {
            return Err(InvalidOrigin::new(text, InvalidOriginKind::Shared));
        }
        Ok(Self { origin, any_label })
    }

    /// Returns true if a request to `uri` goes here.
    fn is_of(&self, uri: &Uri) -> bool {
        match self.any_label {
            true => Origin::of(uri).is_some_and(|origin| self.covers(&origin)),
            false => self.origin.is_of(uri),
        }
    }

    fn covers(&self, origin: &Origin) -> bool {
        origin.secure == self.origin.secure
            && origin.port == self.origin.port
            && self.covers_host(&origin.host)
    }

    fn covers_host(&self, host: &str) -> bool {
        if !self.any_label {
            return host == self.origin.host;
        }
        let label = host
            .strip_suffix(self.origin.host.as_str())
            .and_then(|rest| rest.strip_suffix('.'));
        label.is_some_and(host::is_label)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.origin.to_string();
        match (self.any_label, origin.split_once("://")) {
            (true, Some((scheme, rest))) => write!(f, "{scheme}://*.{rest}"),
            _ => f.write_str(&origin),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Origins {
    pub(super) fn allow(&mut self, text: &str) -> Result<(), InvalidOrigin> {
        let pattern = Pattern::parse(text)?;
        if !pattern.origin.is_safe() {
            return Err(InvalidOrigin::insecure(&pattern));
        }
        self.add(pattern);
        Ok(())
    }

    pub(super) fn allow_insecure(&mut self, text: &str) -> Result<(), InvalidOrigin> {
        self.add(Pattern::parse(text)?);
        Ok(())
    }

    pub(super) fn allow_origin(&mut self, origin: Origin) {
        self.add(Pattern {
            origin,
            any_label: false,
        });
    }

    fn add(&mut self, pattern: Pattern) {
        if !pattern.any_label {
            let origin = &pattern.origin;
            self.plain.push((origin.secure, origin.authority()));
        }
        self.allowed.push(pattern);
    }

    /// Fast path: returns true if the URI is written as most requests write an allowed origin.
    #[inline]
    pub(super) fn plainly_allow(&self, uri: &Uri) -> bool {
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

    pub(super) fn assume(&mut self, text: &str) -> Result<(), InvalidOrigin> {
        self.assumed = Some(Origin::parse(text)?);
        Ok(())
    }

    pub(super) fn pass_others(&mut self) {
        self.pass_others = true;
    }

    /// Returns where a request to `uri` goes. A URI that does not name an origin has the assumed one.
    fn origin_of(&self, uri: &Uri) -> Option<Origin> {
        match uri.authority() {
            Some(_) => Origin::of(uri),
            None => self.assumed.clone(),
        }
    }

    /// Returns true if two URIs have the same origin.
    pub(super) fn are_one(&self, a: &Uri, b: &Uri) -> bool {
        self.origin_of(a)
            .is_some_and(|a| self.origin_of(b) == Some(a))
    }

    /// Checks that the `Host` header of a request to `uri`, if it has one, names the host that the URI names. A
    /// server may go by either of them.
    ///
    /// # Errors
    ///
    /// If it names another, or there are several.
    pub(super) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
        let mut hosts = headers.get_all(HOST).iter();
        let Some(host) = hosts.next() else {
            return Ok(());
        };
        let origin = self.origin_of(uri);
        let agrees = origin
            .as_ref()
            .is_some_and(|it| it.is_named_by(host.as_bytes()));
        if agrees && hosts.next().is_none() {
            return Ok(());
        }
        let all: Vec<&[u8]> = headers
            .get_all(HOST)
            .iter()
            .map(|it| it.as_bytes())
            .collect();
        Err(Error::host_mismatch(
            &ForeignText::from_bytes(&all.join(&b", "[..])),
            origin.map_or_else(String::new, |it| it.to_string()),
        ))
    }

    /// Decides how a request to `uri` is sent.
    ///
    /// # Errors
    ///
    /// If it may not be sent.
    pub(super) fn route(&self, uri: &Uri) -> Result<Route, Error> {
        if self.plainly_allow(uri) || self.allowed.iter().any(|it| it.is_of(uri)) {
            return Ok(Route::Stamp);
        }
        if let (None, Some(assumed)) = (uri.authority(), &self.assumed) {
            if self.allowed.iter().any(|it| it.covers(assumed)) {
                return Ok(Route::Stamp);
            }
        }
        let Some(origin) = self.origin_of(uri) else {
            return self.route_oddly(uri);
        };
        if self.pass_others {
            return Ok(Route::Pass);
        }
        // If the https origin of the same host is allowed, the missing TLS is the reason.
        let insecure = !origin.is_safe()
            && self
                .allowed
                .iter()
                .any(|it| it.origin.secure && it.covers_host(&origin.host));
        let named = origin.to_string();
        Err(Error::new(if insecure {
            Kind::Insecure(named)
        } else {
            Kind::OriginNotAllowed(named)
        }))
    }

    /// Decides the same for a URI that has no origin of HTTP.
    fn route_oddly(&self, uri: &Uri) -> Result<Route, Error> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(Error::new(Kind::NoOrigin));
        };
        // An authority that cannot be read may lead to where the token may not go, and so to where it may.
        if self.pass_others && is_secure(scheme).is_none() {
            return Ok(Route::Pass);
        }
        let text = authority.as_str();
        let after_user = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
        let named = format!("{scheme}://{after_user}");
        Err(Error::new(Kind::OriginNotAllowed(named)))
    }
}

#[cfg(test)]
mod tests;
