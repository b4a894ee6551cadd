//! Which headers are forwarded, and which concern one connection or one side only.

use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header};

use super::key::KEY_HEADER;

/// Headers that concern one connection (RFC 9110, 7.6.1). `Trailer` is not one of them, and hyper needs it.
const HOP_BY_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A caller's headers that concern the proxy. The proxy answers `Expect` itself, by reading the body.
const OF_THE_CALLER: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::EXPECT,
    header::HOST,
    header::ORIGIN,
    // It contains the proxy's address, and the key if the path has one.
    header::REFERER,
    KEY_HEADER,
    HeaderName::from_static("http2-settings"),
];

/// A control plane's headers that concern its own address, or would let pages of other origins in.
const OF_THE_CONTROL_PLANE: [HeaderName; 3] = [
    header::SET_COOKIE,
    header::ALT_SVC,
    HeaderName::from_static("set-cookie2"),
];

/// Removes the headers that are not for the control plane.
pub(crate) fn request(version: Version, headers: &mut HeaderMap) {
    // HTTP/2 callers accept trailers without asking for them.
    let trailers = version == Version::HTTP_2
        || headers
            .get_all(header::TE)
            .iter()
            .any(|value| has_token(value, "trailers"));
    end_to_end(headers);
    for name in OF_THE_CALLER {
        headers.remove(name);
    }
    if trailers {
        // gRPC servers require it.
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes the headers that are not for the caller.
pub(crate) fn response(headers: &mut HeaderMap) {
    end_to_end(headers);
    for name in OF_THE_CONTROL_PLANE {
        headers.remove(name);
    }
    remove_prefixed(headers, "access-control-");
}

/// Removes the headers that concern one connection.
fn end_to_end(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    remove_prefixed(headers, "proxy-");
}

fn remove_prefixed(headers: &mut HeaderMap, prefix: &str) {
    let is_one = |name: &&HeaderName| name.as_str().starts_with(prefix);
    while let Some(name) = headers.keys().find(is_one).cloned() {
        headers.remove(name);
    }
}

fn has_token(value: &HeaderValue, token: &str) -> bool {
    value.to_str().is_ok_and(|value| {
        value
            .split(',')
            .any(|it| it.trim().eq_ignore_ascii_case(token))
    })
}

/// Returns the protocol that a request asks to upgrade to. HTTP/2 does not count, because each connection negotiates
/// that itself.
pub(crate) fn upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let wants = version == Version::HTTP_11
        && headers
            .get_all(header::CONNECTION)
            .iter()
            .any(|value| has_token(value, "upgrade"));
    let protocol = headers.get(header::UPGRADE).filter(|_| wants)?;
    let is_http2 = has_token(protocol, "h2c") || has_token(protocol, "h2");
    (!is_http2).then(|| protocol.clone())
}

/// The control plane's address.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    scheme: http::uri::Scheme,
    authority: http::uri::Authority,
    /// What stands before `/api` in its paths.
    prefix: String,
}

impl Upstream {
    /// Reads a control plane's base URL.
    pub(crate) fn new(base: &str) -> Option<Self> {
        let parts = base.parse::<Uri>().ok()?.into_parts();
        let path = parts.path_and_query.as_ref().map_or("", |it| it.path());
        Some(Self {
            scheme: parts.scheme?,
            authority: parts.authority?,
            prefix: path.trim_end_matches('/').to_owned(),
        })
    }

    /// Returns the URI to forward a request to, without the key at the start of its path. The path is copied only if
    /// it changes.
    pub(crate) fn uri(&self, asked: &Uri, key_length: usize) -> Result<Uri, http::Error> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        let path = asked.path_and_query();
        let whole = path.map_or("/", |path| path.as_str());
        let rest = whole.get(key_length..).unwrap_or("/");
        parts.path_and_query = match (path, rest.len() == whole.len() && self.prefix.is_empty()) {
            (Some(path), true) => Some(path.clone()),
            _ => {
                let slash = if rest.starts_with('/') { "" } else { "/" };
                let path: http::uri::PathAndQuery =
                    format!("{}{slash}{rest}", self.prefix).try_into()?;
                Some(path)
            }
        };
        Ok(Uri::from_parts(parts)?)
    }

    /// Rewrites a `Location` so that it leads back to the proxy, which the caller calls `host`, with `key` (`/KEY` or
    /// nothing) at the start of the path. Returns `None` if the location stays as it is.
    pub(crate) fn located(&self, location: &str, host: &str, key: &str) -> Option<String> {
        let relative = location.starts_with('/') && !location.starts_with("//");
        if relative {
            return match self.without_prefix(location) {
                Some(rest) if key.is_empty() && self.prefix.is_empty() => {
                    debug_assert_eq!(rest, location);
                    None
                }
                Some(rest) => Some(format!("{key}{rest}")),
                // The proxy does not serve this path.
                None => Some(format!("{}://{}{location}", self.scheme, self.authority)),
            };
        }
        let (scheme, rest) = match location.split_once("//")? {
            ("", rest) => (self.scheme.as_str(), rest),
            (scheme, rest) => (scheme.strip_suffix(':')?, rest),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if !scheme.eq_ignore_ascii_case(self.scheme.as_str()) || !self.is_same(authority) {
            return None;
        }
        let path = self.without_prefix(path)?;
        Some(format!("http://{host}{key}{path}"))
    }

    fn is_same(&self, authority: &str) -> bool {
        let default = match self.scheme.as_str() {
            "https" => ":443",
            _ => ":80",
        };
        let own = self.authority.as_str();
        let plain = |it: &str| it.strip_suffix(default).unwrap_or(it).to_ascii_lowercase();
        plain(own) == plain(authority)
    }

    /// Returns a path without the prefix, or `None` if it is not below it.
    fn without_prefix<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.prefix.as_str())?;
        (rest.is_empty() || rest.starts_with(['/', '?', '#']) || self.prefix.is_empty())
            .then_some(rest)
    }
}

/// Rewrites `Location` and `Content-Location`.
pub(crate) fn relocate(headers: &mut HeaderMap, upstream: &Upstream, host: &str, key: &str) {
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let located = headers
            .get(&name)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| upstream.located(value, host, key))
            .and_then(|value| HeaderValue::try_from(value).ok());
        if let Some(value) = located {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        map
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn headers_for_the_proxy_are_not_forwarded() {
        let mut headers = map(&[
            ("accept", "*/*"),
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("x-yours", "1"),
            ("keep-alive", "5"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "close"),
            ("proxy-anything", "x"),
            ("te", "trailers, deflate"),
            ("trailer", "x-sum"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "x"),
            ("host", "127.0.0.1"),
            ("expect", "100-continue"),
            ("origin", "http://127.0.0.1"),
            ("referer", "http://127.0.0.1/key/api"),
            ("x-runai-auth-key", "key"),
        ]);
        request(Version::HTTP_11, &mut headers);
        assert_eq!(names(&headers), ["accept", "te", "trailer", "x-yours"]);
        assert_eq!(headers["te"], "trailers");
    }

    #[test]
    fn headers_of_the_control_plane_only_are_not_returned() {
        let mut headers = map(&[
            ("content-type", "text/plain"),
            ("set-cookie", "a=b"),
            ("access-control-allow-origin", "*"),
            ("access-control-max-age", "1"),
            ("alt-svc", "h3=\":443\""),
            ("connection", "x-mine"),
            ("x-mine", "1"),
            ("proxy-authenticate", "Basic"),
            ("trailer", "x-sum"),
            ("x-sum", "1"),
        ]);
        response(&mut headers);
        assert_eq!(names(&headers), ["content-type", "trailer", "x-sum"]);
    }

    #[test]
    fn upgrades_need_http_1_1_and_a_protocol_other_than_http_2() {
        let with = |connection, upgrade| map(&[("connection", connection), ("upgrade", upgrade)]);
        let asked = |headers: &HeaderMap| upgrade(Version::HTTP_11, headers).is_some();
        assert!(asked(&with("Upgrade", "websocket")));
        assert!(asked(&with("keep-alive, upgrade", "SPDY/3.1")));
        assert!(!asked(&with("keep-alive", "websocket")));
        assert!(!asked(&with("Upgrade, HTTP2-Settings", "h2c")));
        assert!(!asked(&map(&[("connection", "upgrade")])));
        let headers = with("upgrade", "websocket");
        assert!(upgrade(Version::HTTP_2, &headers).is_none());
    }

    #[test]
    fn locations_lead_back_to_the_proxy() {
        let plain = Upstream::new("https://acme.run.ai").unwrap();
        let below = Upstream::new("https://gpu.example:8443/runai").unwrap();
        for (upstream, location, key, expected) in [
            (
                &plain,
                "https://acme.run.ai/api/x?a=b#c",
                "",
                Some("http://localhost:1/api/x?a=b#c"),
            ),
            (
                &plain,
                "https://ACME.run.ai:443/x",
                "",
                Some("http://localhost:1/x"),
            ),
            (
                &plain,
                "https://acme.run.ai",
                "",
                Some("http://localhost:1"),
            ),
            (
                &plain,
                "https://acme.run.ai/x",
                "/k",
                Some("http://localhost:1/k/x"),
            ),
            (&plain, "//acme.run.ai/x", "", Some("http://localhost:1/x")),
            (&plain, "/x", "", None),
            (&plain, "/x", "/k", Some("/k/x")),
            (&plain, "x/y", "/k", None),
            (&plain, "http://acme.run.ai/x", "", None),
            (&plain, "https://acme.run.ai.evil.example/x", "", None),
            (&plain, "https://acme.run.ai@evil.example/x", "", None),
            (&plain, "https://acme.run.ai:8443/x", "", None),
            (&plain, "https://other.example//acme.run.ai/x", "", None),
            (
                &below,
                "https://gpu.example:8443/runai/x",
                "",
                Some("http://localhost:1/x"),
            ),
            (&below, "/runai/x", "", Some("/x")),
            (
                &below,
                "/runaix",
                "",
                Some("https://gpu.example:8443/runaix"),
            ),
            (&below, "https://gpu.example:8443/else", "", None),
        ] {
            let located = upstream.located(location, "localhost:1", key);
            assert_eq!(located.as_deref(), expected, "{location} {key}");
        }
    }

    #[test]
    fn forwarded_paths_have_the_prefix_and_not_the_key() {
        let plain = Upstream::new("https://acme.run.ai").unwrap();
        let below = Upstream::new("https://gpu.example/runai").unwrap();
        for (upstream, asked, key, expected) in [
            (
                &plain,
                "/api/%61?x=%2F",
                0,
                "https://acme.run.ai/api/%61?x=%2F",
            ),
            (&plain, "/key/api?x=1", 4, "https://acme.run.ai/api?x=1"),
            (&plain, "/key", 4, "https://acme.run.ai/"),
            (&plain, "/key?x=1", 4, "https://acme.run.ai/?x=1"),
            (&below, "/api", 0, "https://gpu.example/runai/api"),
            (&below, "/key/api", 4, "https://gpu.example/runai/api"),
        ] {
            let uri = upstream.uri(&asked.parse().unwrap(), key).unwrap();
            assert_eq!(uri.to_string(), expected, "{asked}");
        }
    }
}
