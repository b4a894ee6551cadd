//! Requests of web pages. A browser says which page sends a request.

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::proxy::{reason::Reason, refusal::Refusal};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses the requests of pages of another origin than `host`.
pub(super) fn check(headers: &HeaderMap, host: &str) -> Result<(), Refusal> {
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
