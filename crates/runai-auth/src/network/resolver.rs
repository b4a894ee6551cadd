//! Resolves host names, and marks failures to do so with a type of their own.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper_util::client::legacy::connect::dns::{GaiAddrs, GaiResolver, Name};
use tower_service::Service;

/// The system's resolver. It is not asked for names below `invalid`, which never exist (RFC 6761, section 6.4).
#[derive(Clone)]
pub(super) struct Resolver(GaiResolver);

impl Resolver {
    pub(super) fn new() -> Self {
        Self(GaiResolver::new())
    }
}

impl Service<Name> for Resolver {
    type Response = GaiAddrs;
    type Error = UnknownHost;
    type Future = Pin<Box<dyn Future<Output = Result<GaiAddrs, UnknownHost>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UnknownHost>> {
        self.0.poll_ready(cx).map_err(UnknownHost)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if is_invalid(name.as_str()) {
            let error = io::Error::new(io::ErrorKind::NotFound, "no such host");
            return Box::pin(async { Err(UnknownHost(error)) });
        }
        let resolving = self.0.call(name);
        Box::pin(async move { resolving.await.map_err(UnknownHost) })
    }
}

fn is_invalid(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("invalid")
}

/// A host name that was not resolved.
#[derive(Debug)]
pub(crate) struct UnknownHost(io::Error);

impl fmt::Display for UnknownHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host name was not resolved")
    }
}

impl std::error::Error for UnknownHost {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_invalid_are_never_asked_for() {
        for name in ["invalid", "no-such-host.invalid", "a.b.INVALID."] {
            assert!(is_invalid(name), "{name}");
        }
        for name in ["invalid.example", "notinvalid", "localhost", ""] {
            assert!(!is_invalid(name), "{name}");
        }
    }
}
