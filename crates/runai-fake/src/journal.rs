//! What was asked, in order, and how it was answered.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Version};

/// Which part of the control plane a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A token endpoint.
    Token,
    /// Anything else.
    Api,
    /// Keycloak's discovery document or its login page.
    Discovery,
}

/// One request, and its answer as far as there is one yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exchange {
    /// Its place in the journal, from 0.
    pub seq: usize,
    /// When its head had arrived, counted from the start.
    pub at: Duration,
    /// What it was for.
    pub kind: Kind,
    /// Which TCP connection it came on.
    pub connection: u64,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, if there is one.
    pub query: Option<String>,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// The headers, as they came.
    pub headers: HeaderMap,
    /// The body, as far as it was read.
    pub body: Bytes,
    /// Whether the body was read to its end.
    pub body_complete: bool,
    /// The generation of the token: of the one that the request carried, if it was one of ours, or
    /// of the one that was issued.
    pub generation: Option<u64>,
    /// The application or the user that asked.
    pub client: Option<String>,
    /// The status that was sent; `None` if none was.
    pub status: Option<u16>,
}

impl Exchange {
    /// The bearer token that the request carried.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        self.headers
            .get(http::header::AUTHORIZATION)?
            .to_str()
            .ok()?
            .strip_prefix("Bearer ")
    }
}
