//! Requests that another server may read as a different request.

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::proxy::{reason::Reason, refusal::Refusal};

/// Headers that some servers read as the method or the path, which would bypass every rule.
const OVERRIDES: [HeaderName; 5] = [
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];

/// Refuses a request whose headers can be read in two ways.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Refusal> {
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
            "the proxy does not know the body's transfer coding",
            "Send the body without a coding, or with `Transfer-Encoding: chunked` alone",
        ));
    }
    match OVERRIDES.iter().any(|name| headers.contains_key(name)) {
        true => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            Reason::Form,
            "a header overrides the method or the path",
            "Put the method and the path into the request line",
        )),
        false => Ok(()),
    }
}
