//! What may be shown of a URL.

/// Returns what may be shown of a URL, or of a text that should be one: not the user name and the password,
/// nor the query and the fragment.
///
/// ```
/// use tower_bearer::oauth2::bare_url;
///
/// let url = "https://ada:pa/ss@idp.example/realms/a?key=1#x";
/// assert_eq!(bare_url(url), "https://idp.example/realms/a");
/// assert_eq!(bare_url("ada:password@idp.example"), "idp.example");
/// ```
#[must_use]
pub fn bare_url(text: &str) -> String {
    let is_scheme = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let (scheme, rest) = match text.find("://") {
        Some(at) if is_scheme(&text[..at]) => text.split_at(at + 3),
        _ => ("", text),
    };
    // A password may have any character, so the last sign counts, wherever it is.
    let start = rest.rfind('@').map_or(0, |at| at + 1);
    match rest.find(['?', '#']) {
        // Is it in the password, or is the sign in the query?
        Some(end) if end < start => format!("{scheme}…"),
        Some(end) => format!("{scheme}{}", &rest[start..end]),
        None => format!("{scheme}{}", &rest[start..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p01_no_password_and_no_query_of_a_url_is_shown() {
        for (url, bare) in [
            ("https://idp.example/a", "https://idp.example/a"),
            ("https://u:p@ss@idp.example/a?q#f", "https://idp.example/a"),
            ("https://u:p#w?x@idp.example", "https://…"),
            ("//u:pw@idp.example", "idp.example"),
            ("u:pw@idp example\n", "idp example\n"),
            ("u:p://w@idp.example", "idp.example"),
            ("pw@idp.example/://x", "idp.example/://x"),
            ("https://idp.example/a?mail=u@pw", "https://…"),
            ("", ""),
        ] {
            assert_eq!(bare_url(url), bare, "{url}");
        }
    }
}
