//! Paths, as rules compare them. What is forwarded is always the path as it came.

use std::borrow::Cow;

use super::placeholder::Form;

/// How often a path is decoded: a server behind the control plane's own proxy may decode once more.
const ROUNDS: usize = 4;

/// A path with its escapes resolved, or why it is refused.
///
/// A path is refused that two servers may read differently: dot segments, empty segments, and escaped
/// slashes, backslashes and control characters, however often they are escaped.
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

/// Whether there is nothing in a path that is refused.
fn plain(path: &str) -> Result<(), &'static str> {
    let bytes = path.as_bytes();
    if bytes
        .iter()
        .any(|byte| *byte == b'\\' || *byte < 0x20 || *byte == 0x7f)
    {
        return Err("the path has a backslash or a control character");
    }
    // Most paths are seen through here.
    if !bytes
        .windows(2)
        .any(|pair| matches!(pair, b"//" | b"/." | b"/;"))
    {
        return Ok(());
    }
    // Some servers cut `;…` off a segment, so `;` is an empty one, and `..;` is one of dots.
    if path.contains("//") || path.contains("/;") {
        return Err("the path has an empty segment");
    }
    let is_dots = |segment: &str| matches!(name(segment), "." | "..");
    match path.split('/').any(is_dots) {
        true => Err("the path has a dot segment"),
        false => Ok(()),
    }
}

/// A segment without the parameters after it. A server that decodes once more than it should also takes an
/// escaped `?` or `#` for the path's end.
fn name(segment: &str) -> &str {
    segment.split([';', '?', '#']).next().unwrap_or(segment)
}

/// One round. A strict one takes only whole escapes; a further one leaves what is none.
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

/// What is done with a path of a token endpoint, which is never forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenPath {
    /// It is played.
    Played(Form),
    /// It is not there.
    Hidden,
}

/// Whether a normal path is a token endpoint's, in any spelling that some server may take for it.
pub(crate) fn token_path(path: &str) -> Option<TokenPath> {
    // All of them have it, and most other paths have not.
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
        ["api", "v1", "token"] => Some(TokenPath::Played(Form::V1)),
        ["api", "v2", "token"] => Some(TokenPath::Played(Form::V2)),
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

/// The beginning of a path, on the border of a segment; `*` stands for any one segment.
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

    /// Whether a path is allowed by it. The case of letters counts.
    pub(crate) fn allows(&self, path: &str) -> bool {
        self.is_of(path, |wanted, segment| wanted == segment)
    }

    /// Whether a path is denied by it, in any spelling that some server may take for it.
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
    fn paths_are_read_as_servers_read_them() {
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
    fn paths_that_can_be_read_in_two_ways_are_refused() {
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
    fn token_paths_are_known_in_any_spelling() {
        use TokenPath::{Hidden, Played};

        for (path, which) in [
            ("/api/v1/token", Some(Played(Form::V1))),
            ("/api/v2/token", Some(Played(Form::V2))),
            ("/api/v1/token/", Some(Played(Form::V1))),
            ("/API/V1/Token", Some(Played(Form::V1))),
            ("/api/v1/t%6Fken", Some(Played(Form::V1))),
            ("/api/v1/tok%2565n", Some(Played(Form::V1))),
            ("/api/v1/token;a=b", Some(Played(Form::V1))),
            ("/api;x/v1/token", Some(Played(Form::V1))),
            ("/api/v1/token%20", Some(Played(Form::V1))),
            ("/api/v1/token%3Fx", Some(Played(Form::V1))),
            ("/api/v2/token%2523", Some(Played(Form::V2))),
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
    fn prefixes_end_on_the_border_of_a_segment() {
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
            let told = Prefix::parse(prefix).unwrap();
            assert_eq!(told.allows(path), allows, "{prefix} allows {path}");
            assert_eq!(told.denies(path), denies, "{prefix} denies {path}");
        }
        assert!(Prefix::parse("api").is_err());
        assert!(Prefix::parse("/api/..").is_err());
    }
}
