//! Which requests are let in. Pure functions of a request's head: nothing here waits or sends.

use http::{HeaderMap, HeaderName, Method, StatusCode, Version, header, request};

use super::{
    answer::Refusal,
    args::RuleArgs,
    key::Key,
    path::{Prefix, TokenPath, normal, token_path},
    reason::Reason,
};
use crate::failure::Failure;

pub(crate) const KEY_HEADER: HeaderName = HeaderName::from_static("x-runai-auth-key");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A name that a Host may be, with one port or any.
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
                format!("`{text}` is no host"),
                "Write --allow-host NAME or NAME:PORT",
            )
        };
        let (name, port) = split_host(text).ok_or_else(wrong)?;
        if name.is_empty() || name.contains(['/', '@', ' ', '*']) {
            return Err(wrong());
        }
        Ok(Self::new(name, port))
    }
}

/// The name and the port of a Host.
fn split_host(host: &str) -> Option<(&str, Option<u16>)> {
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

/// The rules for requests.
#[derive(Debug)]
pub(crate) struct Guard {
    hosts: Vec<HostRule>,
    /// Whether a Host may be empty: some clients of unix sockets send none.
    empty_host: bool,
    key: Option<Key>,
    filter: Filter,
}

/// Which methods and paths are served. The default serves all.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    methods: Option<Vec<Method>>,
    allow: Vec<Prefix>,
    deny: Vec<Prefix>,
}

impl Filter {
    pub(crate) fn new(rules: &RuleArgs) -> Result<Self, Failure> {
        let prefixes = |texts: &[String]| -> Result<Vec<Prefix>, Failure> {
            let texts = texts.iter().filter(|text| !text.is_empty());
            let parse = |text: &String| {
                Prefix::parse(text).map_err(|why| {
                    Failure::usage(
                        format!("the rule for `{text}`: {why}"),
                        "Write a path like /api/v1/workloads, with `*` for any one segment",
                    )
                })
            };
            texts.map(parse).collect()
        };
        let mut methods: Option<Vec<Method>> = None;
        for text in rules.methods.iter().filter(|text| !text.is_empty()) {
            let method = text.trim().to_ascii_uppercase().parse().map_err(|_| {
                Failure::usage(
                    format!("`{text}` is no method"),
                    "Write --methods GET,HEAD,POST",
                )
            })?;
            methods.get_or_insert_default().push(method);
        }
        if rules.read_only {
            let safe = [Method::GET, Method::HEAD, Method::OPTIONS];
            methods = Some(match methods {
                None => safe.to_vec(),
                Some(told) => told.into_iter().filter(|it| safe.contains(it)).collect(),
            });
        }
        Ok(Self {
            methods,
            allow: prefixes(&rules.allow_path)?,
            deny: prefixes(&rules.deny_path)?,
        })
    }

    fn method(&self, method: &Method) -> Result<(), Refusal> {
        let refused = |served: &[Method]| {
            let served: Vec<_> = served.iter().map(Method::as_str).collect();
            Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                Reason::Method,
                "the proxy does not serve this method",
                "It was started with --read-only or --methods",
            )
            .allow(served.join(", ")))
        };
        match &self.methods {
            Some(served) if !served.contains(method) => refused(served),
            // It would show what the proxy adds.
            _ if method == Method::TRACE => refused(&[]),
            _ => Ok(()),
        }
    }

    fn path(&self, path: &str) -> Result<(), Refusal> {
        let is_allowed = self.allow.is_empty() || self.allow.iter().any(|it| it.allows(path));
        if is_allowed && !self.deny.iter().any(|it| it.denies(path)) {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            Reason::Path,
            "the proxy does not serve this path",
            "It was started with --allow-path or --deny-path",
        ))
    }
}

/// A request that was let in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// How many bytes of the path are the key, with the slash before it.
    pub(crate) key_length: usize,
    /// A token endpoint that is played.
    pub(crate) played: Option<super::placeholder::Form>,
}

impl Guard {
    pub(crate) fn new(
        hosts: Vec<HostRule>,
        empty_host: bool,
        key: Option<Key>,
        filter: Filter,
    ) -> Self {
        Self {
            hosts,
            empty_host,
            key,
            filter,
        }
    }

    /// Lets a request in, or says why not.
    pub(crate) fn admit(&self, head: &request::Parts) -> Result<Admitted, Refusal> {
        let host = self.host(head)?;
        from_here(&head.headers, host)?;
        in_one_way(&head.headers)?;
        let path = head.uri.path();
        if path == "*" {
            return Err(bad_path("the path is `*`"));
        }
        let key_length = self.key(head, path)?;
        let path = &path[key_length..];
        let path = if path.is_empty() { "/" } else { path };
        let path = normal(path).map_err(bad_path)?;
        let played = match token_path(&path) {
            Some(TokenPath::Played(form)) if head.method == Method::POST => Some(form),
            Some(TokenPath::Played(_)) => {
                return Err(Refusal::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    Reason::Token,
                    "token requests are not forwarded",
                    "POST gets a placeholder; the proxy adds the real token itself",
                )
                .allow("POST"));
            }
            Some(TokenPath::Hidden) => {
                return Err(Refusal::new(
                    StatusCode::NOT_FOUND,
                    Reason::Token,
                    "token requests are not forwarded",
                    "Send requests without a token: the proxy adds it",
                ));
            }
            None => {
                self.filter.method(&head.method)?;
                self.filter.path(&path)?;
                None
            }
        };
        Ok(Admitted { key_length, played })
    }

    /// How the caller calls this proxy, if that is one of its names: a page whose own name was pointed at
    /// this machine (DNS rebinding) is found out here.
    fn host<'a>(&self, head: &'a request::Parts) -> Result<&'a str, Refusal> {
        if head.method == Method::CONNECT {
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                Reason::Form,
                "this is no forward proxy",
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
        let mut told = head.headers.get_all(header::HOST).iter();
        let header = told.next();
        if told.next().is_some() {
            return Err(bad("there is more than one Host"));
        }
        let header = match header.map(|value| value.to_str()) {
            Some(Err(_)) => return Err(bad("the Host is no text")),
            Some(Ok(text)) => Some(text),
            None => None,
        };
        let authority = head.uri.authority().map(|it| it.as_str());
        let host = match (head.version, header, authority) {
            (Version::HTTP_2, None, Some(authority)) => authority,
            (Version::HTTP_2, Some(host), Some(authority)) if host == authority => authority,
            (Version::HTTP_2, Some(_), Some(_)) => return Err(bad("there is more than one Host")),
            (_, _, Some(_)) => {
                return Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    Reason::Form,
                    "the request names a whole URL, as for a forward proxy",
                    "Unset HTTP_PROXY, or list the proxy's address in NO_PROXY",
                ));
            }
            (_, Some(host), None) => host,
            (_, None, None) => return Err(bad("there is no Host")),
        };
        let is_ours = match host.is_empty() {
            true => self.empty_host,
            false => split_host(host).is_some_and(|(name, port)| {
                let port = port.unwrap_or(80);
                self.hosts.iter().any(|rule| {
                    rule.port.is_none_or(|it| it == port) && rule.name.eq_ignore_ascii_case(name)
                })
            }),
        };
        match is_ours {
            true => Ok(host),
            false => Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                Reason::Host,
                "the request is for another host",
                "Use the proxy's own address, or start it with --allow-host",
            )),
        }
    }

    /// How much of the path is the key.
    fn key(&self, head: &request::Parts, path: &str) -> Result<usize, Refusal> {
        let Some(key) = &self.key else { return Ok(0) };
        key.follow();
        let segment = path.split('/').nth(1).unwrap_or_default();
        if key.is(segment.as_bytes()) {
            return Ok(segment.len() + 1);
        }
        let shown = |name: HeaderName| head.headers.get(name).map(|value| value.as_bytes());
        let bearer = shown(header::AUTHORIZATION).and_then(|value| {
            let (scheme, rest) = value.split_at_checked("Bearer ".len())?;
            scheme
                .eq_ignore_ascii_case(b"Bearer ")
                .then(|| rest.trim_ascii())
        });
        match bearer.is_some_and(|it| key.is(it)) || shown(KEY_HEADER).is_some_and(|it| key.is(it))
        {
            true => Ok(0),
            false => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                Reason::Key,
                "the proxy's key is missing or wrong",
                "Send it as `Authorization: Bearer KEY` or `X-Runai-Auth-Key: KEY`, or begin the path \
                 with /KEY",
            )),
        }
    }
}

fn bad_path(why: &'static str) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        Reason::Path,
        why,
        "Write the path without dot segments, empty segments and escaped slashes",
    )
}

/// Headers that some servers take for the method or the path, so that no rule would hold.
const OVERRIDES: [HeaderName; 5] = [
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];

/// Refuses what another server may read as another request.
fn in_one_way(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = codings.next().is_none_or(|coding| {
        coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    });
    if !is_chunked || codings.next().is_some() {
        return Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            Reason::Form,
            "the body has a transfer coding that is not known here",
            "Send it as it is, or with `Transfer-Encoding: chunked` alone",
        ));
    }
    match OVERRIDES.iter().any(|name| headers.contains_key(name)) {
        true => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            Reason::Form,
            "a header asks for another method or path",
            "Send the request with the method and the path that it is for",
        )),
        false => Ok(()),
    }
}

/// Refuses what a page of another origin sends: a browser tells on it.
fn from_here(headers: &HeaderMap, host: &str) -> Result<(), Refusal> {
    let foreign = |error| {
        Refusal::new(
            StatusCode::FORBIDDEN,
            Reason::Origin,
            error,
            "Pages of other origins cannot use the proxy",
        )
    };
    for origin in headers.get_all(header::ORIGIN) {
        let own = origin
            .to_str()
            .ok()
            .and_then(|it| it.strip_prefix("http://").or(it.strip_prefix("https://")))
            .is_some_and(|it| !it.is_empty() && it.eq_ignore_ascii_case(host));
        if !own {
            return Err(foreign("the request comes from a page of another origin"));
        }
    }
    for site in headers.get_all(SEC_FETCH_SITE) {
        if !matches!(site.as_bytes(), b"same-origin" | b"none") {
            return Err(foreign("the request comes from a page of another site"));
        }
    }
    Ok(())
}

/// Refuses what is not for the host, or from a page of another origin: for the admin's address too.
pub(crate) fn is_local(guard: &Guard, head: &request::Parts) -> Result<(), Refusal> {
    let host = guard.host(head)?;
    from_here(&head.headers, host)
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
