//! The guard: applies every check to a request's head.

use http::{HeaderName, Method, StatusCode, header, request};

use super::{
    ambiguity,
    filter::Filter,
    host::{HostRule, Hosts},
    origin,
};
use crate::proxy::{
    key::{KEY_HEADER, Key},
    path::{EndpointVersion, TokenPath, normal, token_path},
    reason::Reason,
    refusal::Refusal,
};

/// The rules for requests.
#[derive(Debug)]
pub(crate) struct Guard {
    hosts: Hosts,
    key: Option<Key>,
    filter: Filter,
}

/// A request that was let in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// How many bytes at the start of the path are the key, with the slash before it.
    pub(crate) key_length: usize,
    /// The token endpoint that the proxy answers for, with a placeholder.
    pub(crate) placeholder: Option<EndpointVersion>,
}

impl Guard {
    pub(crate) fn new(
        hosts: Vec<HostRule>,
        allow_empty_host: bool,
        key: Option<Key>,
        filter: Filter,
    ) -> Self {
        Self {
            hosts: Hosts::new(hosts, allow_empty_host),
            key,
            filter,
        }
    }

    /// Lets a request in, or says why not.
    pub(crate) fn admit(&self, head: &request::Parts) -> Result<Admitted, Refusal> {
        self.check_caller(head)?;
        ambiguity::check(&head.headers)?;
        let path = head.uri.path();
        if path == "*" {
            return Err(bad_path("the path is `*`"));
        }
        let key_length = self.check_key(head, path)?;
        let path = &path[key_length..];
        let path = if path.is_empty() { "/" } else { path };
        let path = normal(path).map_err(bad_path)?;
        let placeholder = match token_path(&path) {
            Some(TokenPath::Placeholder(version)) if head.method == Method::POST => Some(version),
            Some(TokenPath::Placeholder(_)) => {
                return Err(Refusal::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    Reason::Token,
                    "token requests are not forwarded",
                    "Use POST to get a placeholder; the proxy adds the real token itself",
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
                self.filter.check_method(&head.method)?;
                self.filter.check_path(&path)?;
                None
            }
        };
        Ok(Admitted {
            key_length,
            placeholder,
        })
    }

    /// Refuses a request for another host, or from a page of another origin.
    pub(crate) fn check_caller(&self, head: &request::Parts) -> Result<(), Refusal> {
        let host = self.hosts.check(head)?;
        origin::check(&head.headers, host)
    }

    /// Returns how many bytes of the path are the key.
    fn check_key(&self, head: &request::Parts, path: &str) -> Result<usize, Refusal> {
        let Some(key) = &self.key else { return Ok(0) };
        let segment = path.split('/').nth(1).unwrap_or_default();
        if key.is(segment.as_bytes()) {
            return Ok(segment.len() + 1);
        }
        let sent = |name: HeaderName| head.headers.get(name).map(|value| value.as_bytes());
        let bearer = sent(header::AUTHORIZATION).and_then(|value| {
            let (scheme, rest) = value.split_at_checked("Bearer ".len())?;
            scheme
                .eq_ignore_ascii_case(b"Bearer ")
                .then(|| rest.trim_ascii())
        });
        match bearer.is_some_and(|it| key.is(it)) || sent(KEY_HEADER).is_some_and(|it| key.is(it)) {
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
