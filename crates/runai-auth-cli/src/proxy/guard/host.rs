//! The names by which callers may call the proxy.

use http::{Method, StatusCode, Version, header, request};
use runai_auth::tower_bearer::ForeignText;

use crate::{
    failure::Failure,
    proxy::{reason::Reason, refusal::Refusal},
};

/// A name to accept as a Host, with one port or any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostRule {
    name: String,
    port: Option<u16>,
}

impl HostRule {
    pub(crate) fn new(name: impl Into<String>, port: Option<u16>) -> Self {
        Self {
            name: name.into(),
            port,
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage(
                format!("{} is not a host", ForeignText::new(text)),
                "Write --allow-host NAME or NAME:PORT",
            )
        };
        let (name, port) = split(text).ok_or_else(wrong)?;
        if name.is_empty() || name.contains(['/', '@', ' ', '*']) {
            return Err(wrong());
        }
        Ok(Self::new(name, port))
    }
}

/// Splits a Host into its name and port.
fn split(host: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match host.rfind(']') {
        Some(end) => host.split_at(end + 1),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    if name.contains('[') != name.starts_with('[') || name.starts_with('[') != name.ends_with(']') {
        return None;
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((name, None)),
        Some(port) if !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()) => {
            Some((name, Some(port.parse().ok()?)))
        }
        _ => None,
    }
}

/// All names of the proxy.
#[derive(Debug)]
pub(super) struct Hosts {
    rules: Vec<HostRule>,
    /// Whether a Host may be empty: some clients of unix sockets send an empty one.
    allow_empty: bool,
}

impl Hosts {
    pub(super) fn new(rules: Vec<HostRule>, allow_empty: bool) -> Self {
        Self { rules, allow_empty }
    }

    /// Returns the name that the caller used, if it is one of the proxy's. This stops DNS rebinding: a page whose
    /// own name was pointed at this machine.
    pub(super) fn check<'a>(&self, head: &'a request::Parts) -> Result<&'a str, Refusal> {
        let host = named(head)?;
        let is_known = match host.is_empty() {
            true => self.allow_empty,
            false => split(host).is_some_and(|(name, port)| {
                let port = port.unwrap_or(80);
                self.rules.iter().any(|rule| {
                    rule.port.is_none_or(|it| it == port) && rule.name.eq_ignore_ascii_case(name)
                })
            }),
        };
        match is_known {
            true => Ok(host),
            false => Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                Reason::Host,
                "the request is for another host",
                "Use the proxy's own address, or start it with --allow-host",
            )),
        }
    }
}

/// Returns the one host that a request names.
fn named(head: &request::Parts) -> Result<&str, Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Reason::Form,
            "this is not a forward proxy",
            "Send requests to the proxy's own URL",
        ));
    }
    let bad = |error| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            Reason::Host,
            error,
            "Send one Host header",
        )
    };
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("there is more than one Host"));
    }
    let header = match header.map(|value| value.to_str()) {
        Some(Err(_)) => return Err(bad("the Host is not text")),
        Some(Ok(text)) => Some(text),
        None => None,
    };
    let authority = head.uri.authority().map(|it| it.as_str());
    match (head.version, header, authority) {
        (Version::HTTP_2, None, Some(authority)) => Ok(authority),
        (Version::HTTP_2, Some(host), Some(authority)) if host == authority => Ok(authority),
        (Version::HTTP_2, Some(_), Some(_)) => Err(bad("there is more than one Host")),
        (_, _, Some(_)) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            Reason::Form,
            "the request names a whole URL, as for a forward proxy",
            "Unset HTTP_PROXY, or list the proxy's address in NO_PROXY",
        )),
        (_, Some(host), None) => Ok(host),
        (_, None, None) => Err(bad("there is no Host")),
    }
}
