//! What a request was about, as far as it takes to recognise who rejects a token.

use std::hash::{DefaultHasher, Hash, Hasher};

use http::Uri;

/// The most of a path's segments that tell one target from another.
const SEGMENTS: usize = 16;

/// A segment that is longer than this is an id.
const LONGEST_NAME: usize = 32;

/// The origin and the path that a request went to, without what changes from one request to the next: the
/// query, and segments that are ids.
///
/// It is made only after a rejection, or when an answer is of interest; never for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target(u64);

impl Target {
    pub(crate) fn of(uri: &Uri) -> Self {
        let mut hasher = DefaultHasher::new();
        uri.scheme_str().hash(&mut hasher);
        if let Some(authority) = uri.authority() {
            hash_lower(authority.as_str(), &mut hasher);
        }
        let segments = uri.path().split('/').filter(|segment| !segment.is_empty());
        for segment in segments.take(SEGMENTS) {
            match is_id(segment) {
                true => "{id}".hash(&mut hasher),
                false => hash_lower(segment, &mut hasher),
            }
        }
        Self(hasher.finish())
    }
}

fn hash_lower(text: &str, hasher: &mut DefaultHasher) {
    for byte in text.bytes() {
        hasher.write_u8(byte.to_ascii_lowercase());
    }
    hasher.write_u8(b'/');
}

/// Whether a segment names one thing of many. Names of kinds have no digits, nor escapes; that `v1` counts
/// as an id too does no harm.
fn is_id(segment: &str) -> bool {
    segment.len() > LONGEST_NAME
        || segment
            .bytes()
            .any(|byte| byte.is_ascii_digit() || matches!(byte, b'%' | b'@' | b'='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l01_ids_in_a_path_make_no_target_of_their_own() {
        let of = |uri: &'static str| Target::of(&Uri::from_static(uri));
        let jobs = of("https://api.example/jobs/17");
        for same in [
            "https://api.example/jobs/18",
            "https://API.example/jobs/18?page=2",
            "https://api.example/jobs/18/",
            "https://api.example/jobs/6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "https://api.example/jobs/deadbeef01",
            "https://api.example/jobs/someone@else",
        ] {
            assert_eq!(of(same), jobs, "{same}");
        }
        for other in [
            "https://api.example/jobs",
            "https://api.example/tasks/17",
            "https://other.example/jobs/17",
            "https://api.example:8443/jobs/17",
            "http://api.example/jobs/17",
            "https://api.example/jobs/17/log",
        ] {
            assert_ne!(of(other), jobs, "{other}");
        }
    }
}
