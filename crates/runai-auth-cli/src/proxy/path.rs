//! Paths, as rules compare them. The proxy always forwards the path as it came.

use std::borrow::Cow;

/// How often a path is decoded: a server behind the control plane's own proxy may decode it once more.
const ROUNDS: usize = 4;

/// Resolves a path's escapes, or says why the path is refused.
///
/// Refuses every path that two servers may read differently: dot segments, empty segments, and escaped slashes,
/// backslashes and control characters, however often they are escaped.
pub(crate) fn normal(path: &str) -> Result<Cow<'_, str>, &'static str> {
    if !path.starts_with('/') {
        return Err("the path does not begin with a slash");
    }
    plain(path)?;
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let mut decoded = decode(path, true)?;
    for _ in 0..ROUNDS {
        plain(&decoded)?;
        if !decoded.contains('%') {
            break;
        }
        let further = decode(&decoded, false)?;
        if further == decoded {
            break;
        }
        decoded = further;
    }
    Ok(Cow::Owned(decoded))
}

/// Checks that a path contains nothing that is refused.
fn plain(path: &str) -> Result<(), &'static str> {
    let bytes = path.as_bytes();
    if bytes
        .iter()
        .any(|byte| *byte == b'\\' || *byte < 0x20 || *byte == 0x7f)
    {
        return Err("the path has a backslash or a control character");
    }
    // The fast path for most paths.
    if !bytes
        .windows(2)
        .any(|pair| matches!(pair, b"//" | b"/." | b"/;"))
    {
        return Ok(());
    }
    // Some servers cut `;…` off a segment: then `;` is an empty segment and `..;` a dot segment.
    if path.contains("//") || path.contains("/;") {
        return Err("the path has an empty segment");
    }
    let is_dots = |segment: &str| matches!(name(segment), "." | "..");
    match path.split('/').any(is_dots) {
        true => Err("the path has a dot segment"),
        false => Ok(()),
    }
}

/// Returns a segment without its parameters. A server that decodes once too often also takes an escaped `?` or `#` for
/// the end of the path.
fn name(segment: &str) -> &str {
    segment.split([';', '?', '#']).next().unwrap_or(segment)
}

/// Decodes once. If `strict`, a broken escape is an error; otherwise it stays as it is.
fn decode(path: &str, strict: bool) -> Result<String, &'static str> {
    const BROKEN: &str = "the path has a broken escape";
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = (bytes.get(at + 1), bytes.get(at + 2));
        let escaped = match (byte, pair) {
            (b'%', (Some(high), Some(low))) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match (byte, escaped) {
            (_, Some((high, low))) => {
                let byte = high * 16 + low;
                if byte == b'/' {
                    return Err("the path has an escaped slash");
                }
                decoded.push(byte);
                at += 3;
            }
            (b'%', None) if strict => return Err(BROKEN),
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).map_err(|_| "the path is not UTF-8 text")
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|it| u8::try_from(it).ok())
}

/// The versions of token endpoint for which the proxy answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointVersion {
    V1,
    V2,
}

/// A path of a token endpoint, which is never forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenPath {
    /// The proxy answers with a placeholder.
    Placeholder(EndpointVersion),
    /// The proxy answers 404.
    Hidden,
}

/// Recognizes a token endpoint in a normal path, in any spelling that some server may accept for it.
pub(crate) fn token_path(path: &str) -> Option<TokenPath> {
    // The fast path for most paths.
    if !contains_ignoring_case(path, b"token") {
        return None;
    }
    let lower = path.to_lowercase();
    let names: Vec<&str> = lower
        .split('/')
        .map(|segment| name(segment).trim())
        .filter(|name| !name.is_empty())
        .collect();
    match names.as_slice() {
        ["api", "v1", "token"] => Some(TokenPath::Placeholder(EndpointVersion::V1)),
        ["api", "v2", "token"] => Some(TokenPath::Placeholder(EndpointVersion::V2)),
        ["api", version, "token", ..] if is_version(version) => Some(TokenPath::Hidden),
        [
            "auth",
            "realms",
            _,
            "protocol",
            "openid-connect",
            "token",
            ..,
        ]
        | ["realms", _, "protocol", "openid-connect", "token", ..] => Some(TokenPath::Hidden),
        _ => None,
    }
}

fn is_version(name: &str) -> bool {
    name.strip_prefix('v')
        .is_some_and(|number| number.chars().all(|c| c.is_ascii_digit()))
}

fn contains_ignoring_case(text: &str, wanted: &[u8]) -> bool {
    text.as_bytes()
        .windows(wanted.len())
        .any(|part| part.eq_ignore_ascii_case(wanted))
}

/// The start of a path, in whole segments; `*` matches any one segment.
#[derive(Clone, Debug)]
pub(crate) struct Prefix(Vec<String>);

impl Prefix {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let path = normal(text.trim_end_matches('/'));
        let path = match text.trim_end_matches('/').is_empty() && text.starts_with('/') {
            true => Cow::Borrowed(""),
            false => path?,
        };
        Ok(Self(path.split('/').skip(1).map(str::to_owned).collect()))
    }

    /// Returns true if the path begins with this. Case counts.
    pub(crate) fn allows(&self, path: &str) -> bool {
        self.is_of(path, |wanted, segment| wanted == segment)
    }

    /// Returns true if the path begins with this, in any spelling that some server may accept for it.
    pub(crate) fn denies(&self, path: &str) -> bool {
        self.is_of(path, |wanted, segment| {
            wanted.to_lowercase() == name(segment).trim().to_lowercase()
        })
    }

    fn is_of(&self, path: &str, is_same: impl Fn(&str, &str) -> bool) -> bool {
        let mut segments = path.split('/').skip(1);
        self.0.iter().all(|wanted| match segments.next() {
            Some(segment) if wanted == "*" => !segment.is_empty(),
            Some(segment) => is_same(wanted, segment),
            None => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_as_servers_decode_them() {
        for (path, read) in [
            ("/", "/"),
            ("/api/v1/clusters", "/api/v1/clusters"),
            ("/api/v1/clusters/", "/api/v1/clusters/"),
            ("/%61pi/v1/a%20b", "/api/v1/a b"),
            ("/api/v1/..a/.b/c..", "/api/v1/..a/.b/c.."),
            ("/api/100%25", "/api/100%"),
            ("/%2561pi", "/api"),
            ("/caf%C3%A9", "/café"),
            ("/a;b=c/d", "/a;b=c/d"),
        ] {
            assert_eq!(normal(path).unwrap(), read, "{path}");
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for path in [
            "",
            "*",
            "api",
            "//",
            "/api//v1",
            "/api/./v1",
            "/api/../v1",
            "/..",
            "/.",
            "/api/..;/v1",
            "/api/..%3F/v1",
            "/;a=b/api",
            "/api/%3B/v1",
            "/api/%2e%2e/v1",
            "/api/%2E./v1",
            "/api/.%2e;x/v1",
            "/api%2fv1",
            "/api%2Fv1",
            "/api%5cv1",
            "/api\\v1",
            "/api%00",
            "/api%0a",
            "/api%252fv1",
            "/api/%252e%252e/v1",
            "/api/%25252e%25252e/v1",
            "/api%",
            "/api%2",
            "/api%zz",
            "/api/%ff",
        ] {
            assert!(normal(path).is_err(), "{path}");
        }
    }

    #[test]
    fn token_paths_are_recognized_in_any_spelling() {
        use TokenPath::{Hidden, Placeholder};

        for (path, which) in [
            ("/api/v1/token", Some(Placeholder(EndpointVersion::V1))),
            ("/api/v2/token", Some(Placeholder(EndpointVersion::V2))),
            ("/api/v1/token/", Some(Placeholder(EndpointVersion::V1))),
            ("/API/V1/Token", Some(Placeholder(EndpointVersion::V1))),
            ("/api/v1/t%6Fken", Some(Placeholder(EndpointVersion::V1))),
            ("/api/v1/tok%2565n", Some(Placeholder(EndpointVersion::V1))),
            ("/api/v1/token;a=b", Some(Placeholder(EndpointVersion::V1))),
            ("/api;x/v1/token", Some(Placeholder(EndpointVersion::V1))),
            ("/api/v1/token%20", Some(Placeholder(EndpointVersion::V1))),
            ("/api/v1/token%3Fx", Some(Placeholder(EndpointVersion::V1))),
            ("/api/v2/token%2523", Some(Placeholder(EndpointVersion::V2))),
            ("/api/v3/token", Some(Hidden)),
            ("/api/v1/token/x", Some(Hidden)),
            (
                "/auth/realms/runai/protocol/openid-connect/token",
                Some(Hidden),
            ),
            (
                "/Auth/realms/a/protocol/openid-connect/token/introspect",
                Some(Hidden),
            ),
            ("/realms/a/protocol/openid-connect/token", Some(Hidden)),
            ("/api/v1/tokens", None),
            ("/api/v1/clusters", None),
            ("/api/v1/projects/token", None),
        ] {
            assert_eq!(token_path(&normal(path).unwrap()), which, "{path}");
        }
    }

    #[test]
    fn prefixes_match_whole_segments() {
        for (prefix, path, allows, denies) in [
            ("/api/v1", "/api/v1", true, true),
            ("/api/v1", "/api/v1/clusters", true, true),
            ("/api/v1/", "/api/v1/clusters", true, true),
            ("/api/v1", "/api/v10", false, false),
            ("/api/v1", "/api", false, false),
            ("/api/v1", "/API/v1/x", false, true),
            ("/api/v1", "/api;a=b/v1/x", false, true),
            ("/api/v1", "/api/v1?x", false, true),
            ("/api/v1", "/api/v1#/x", false, true),
            ("/api/*/users", "/api/v1/users/3", true, true),
            ("/api/*/users", "/api//users", false, false),
            ("/api/*", "/api", false, false),
            ("/", "/anything", true, true),
            ("/%61pi", "/api/v1", true, true),
        ] {
            let rule = Prefix::parse(prefix).unwrap();
            assert_eq!(rule.allows(path), allows, "{prefix} allows {path}");
            assert_eq!(rule.denies(path), denies, "{prefix} denies {path}");
        }
        assert!(Prefix::parse("api").is_err());
        assert!(Prefix::parse("/api/..").is_err());
    }
}
