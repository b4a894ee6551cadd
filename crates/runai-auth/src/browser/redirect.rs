//! The redirect that ends a login (RFC 6749, section 4.1.2).

use std::borrow::Cow;

use tower_bearer::oauth2::SecretText;

use super::{
    error::{LoginError, LoginErrorKind},
    random,
};

/// The most characters that are shown of the server's words.
const SHOWN: usize = 200;

/// A redirect with the state of this login.
#[derive(Debug)]
pub(super) enum Redirect {
    Code(SecretText),
    /// The name of the error and its description, ready to be shown.
    Refused(String, Option<String>),
}

/// Why a redirect is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidRedirect {
    /// Its state is missing or belongs to another login, so anyone may have sent it.
    State,
    /// It has neither one code nor one error.
    Empty,
}

impl Redirect {
    /// Reads a redirect's query. It looks at nothing else before the state is right.
    pub(super) fn read(query: &str, state: &SecretText) -> Result<Self, InvalidRedirect> {
        // A parameter must not occur twice (section 3.1), because other readers may take the other one.
        let one = |name: &str| -> Option<Cow<'_, str>> {
            let mut values = form_urlencoded::parse(query.as_bytes())
                .filter(|(found, _)| found == name)
                .map(|(_, value)| value);
            let first = values.next().filter(|value| !value.is_empty());
            values.next().map_or(first, |_| None)
        };
        if !one("state").is_some_and(|it| random::is_same(&it, state)) {
            return Err(InvalidRedirect::State);
        }
        let shown = |text: &str| clean(text, state.expose_secret());
        match (one("error"), one("code")) {
            (Some(error), _) => {
                let description = one("error_description").map(|text| shown(&text));
                Ok(Self::Refused(shown(&error), description))
            }
            (None, Some(code)) => Ok(Self::Code(code.into_owned().into())),
            (None, None) => Err(InvalidRedirect::Empty),
        }
    }

    /// Returns the code, or the error.
    pub(super) fn code(self, base: &str) -> Result<SecretText, LoginError> {
        let (error, description) = match self {
            Self::Code(code) => return Ok(code),
            Self::Refused(error, description) => (error, description),
        };
        let said = description.map_or_else(String::new, |words| format!(", \"{words}\""));
        let what = match error.as_str() {
            "access_denied" => format!("the login was refused: access_denied{said}"),
            _ => format!("{base} ended the login with the error `{error}`{said}"),
        };
        Err(LoginError::new(LoginErrorKind::Refused, what))
    }
}

/// Reads what a person pasted: a code, or the whole URL of the redirect.
pub(super) fn pasted(text: &str, state: &SecretText) -> Result<Redirect, LoginError> {
    let bad = |why: &str| Err(LoginError::new(LoginErrorKind::Pasted, why));
    let text = text.trim();
    if text.contains("://") || text.contains('?') {
        let query = text.split_once('?').map_or("", |(_, query)| query);
        let query = query.split('#').next().unwrap_or_default();
        return match Redirect::read(query, state) {
            Ok(redirect) => Ok(redirect),
            Err(InvalidRedirect::State) => bad(
                "the pasted URL is not of this login, because its state is missing or different: paste \
                 the URL that the browser shows at the end of the login that was started last",
            ),
            Err(InvalidRedirect::Empty) => bad("the pasted URL holds no code"),
        };
    }
    // RFC 6749, appendix A.11.
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) {
        return bad("the pasted text is not a code: a code is one word");
    }
    Ok(Redirect::Code(text.into()))
}

/// The server's words on one line, not endless, and without the state.
fn clean(text: &str, state: &str) -> String {
    if text.contains(state) {
        return "words that repeat the state".into();
    }
    let is_shown = |c: char| c.is_ascii_graphic() || c.is_alphanumeric();
    let text = text.chars().take(SHOWN);
    text.map(|c| if is_shown(c) { c } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Redirect, InvalidRedirect> {
        Redirect::read(query, &"st4te".into())
    }

    #[test]
    fn only_the_right_state_counts() {
        for query in [
            "",
            "code=c",
            "code=c&state=",
            "code=c&state=st4t",
            "code=c&state=st4te2",
            "code=c&state=st4te&state=other",
            "code=c&state=st4te&state=st4te",
            "error=access_denied&state=other",
            "code=c&State=st4te",
        ] {
            assert_eq!(read(query).unwrap_err(), InvalidRedirect::State, "{query}");
        }
        for query in [
            "state=st4te",
            "state=st4te&code=",
            "state=st4te&code=a&code=b",
        ] {
            assert_eq!(read(query).unwrap_err(), InvalidRedirect::Empty, "{query}");
        }
        let read = read("session_state=x&code=a%2Fb&state=st4te").unwrap();
        assert_eq!(read.code("").unwrap().expose_secret(), "a/b");
    }

    #[test]
    fn an_errors_words_are_cleaned() {
        let long = "x".repeat(300);
        let query = format!("state=st4te&error=a%0Ab&error_description=say%1B%E2%80%AE{long}");
        let error = read(&query).unwrap().code("http://base").unwrap_err();
        assert_eq!(error.kind(), LoginErrorKind::Refused);
        let text = error.to_string();
        assert!(
            text.starts_with("http://base ended the login with the error `a b`, \"say  xxx"),
            "{text}"
        );
        assert!(text.len() < 280, "{text}");
        let query = "state=st4te&code=c&error=access_denied&error_description=of+st4te";
        let text = read(query).unwrap().code("").unwrap_err().to_string();
        assert_eq!(
            text,
            "the login was refused: access_denied, \"words that repeat the state\""
        );
    }

    #[test]
    fn what_is_pasted_is_a_code_or_a_url() {
        let paste = |text: &str| {
            let redirect = pasted(text, &"st4te".into())?;
            redirect
                .code("")
                .map(|code| code.expose_secret().to_owned())
        };
        assert_eq!(paste(" c0de.x=\n").unwrap(), "c0de.x=");
        let url = "http://127.0.0.1:1/callback?code=c%2B1&state=st4te#top";
        assert_eq!(paste(url).unwrap(), "c+1");
        for bad in [
            "",
            "two words",
            "caf\u{e9}",
            "http://127.0.0.1:1/callback",
            "http://127.0.0.1:1/callback?code=s3cr3t",
            "http://127.0.0.1:1/callback?code=s3cr3t&state=other",
            "http://127.0.0.1:1/callback?state=st4te",
        ] {
            let error = paste(bad).unwrap_err();
            assert_eq!(error.kind(), LoginErrorKind::Pasted, "{bad}");
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
        }
    }
}
