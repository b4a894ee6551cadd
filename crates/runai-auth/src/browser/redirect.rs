//! The redirect that ends a login (RFC 6749, section 4.1.2).

use std::borrow::Cow;

use tower_bearer::{ForeignText, oauth2::SecretText};

use super::{
    error::{LoginError, LoginErrorKind},
    random,
};

/// A redirect with the state of this login.
#[derive(Debug)]
pub(super) enum Redirect {
    Code(SecretText),
    Refused(Refusal),
}

/// The error of a redirect.
#[derive(Debug)]
pub(super) struct Refusal {
    is_access_denied: bool,
    name: ForeignText,
    description: Option<ForeignText>,
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
        let foreign = |text: &str| ForeignText::without_secrets(text, [state.expose_secret()]);
        match (one("error"), one("code")) {
            (Some(error), _) => Ok(Self::Refused(Refusal {
                is_access_denied: error == "access_denied",
                name: foreign(&error),
                description: one("error_description").map(|text| foreign(&text)),
            })),
            (None, Some(code)) => Ok(Self::Code(code.into_owned().into())),
            (None, None) => Err(InvalidRedirect::Empty),
        }
    }

    /// Returns the code, or the error.
    pub(super) fn code(self, base: &str) -> Result<SecretText, LoginError> {
        let refusal = match self {
            Self::Code(code) => return Ok(code),
            Self::Refused(refusal) => refusal,
        };
        let mut words = refusal.name.to_string();
        if let Some(description) = refusal.description {
            words = format!("{words}, {description}");
        }
        let (message, advice) = match refusal.is_access_denied {
            true => (
                format!("{base} refused the login ({words})"),
                "log in again, as a person who may use the control plane",
            ),
            false => (
                format!("{base} ended the login with an error ({words})"),
                "log in again",
            ),
        };
        Err(LoginError::new(LoginErrorKind::Refused, message).with_advice(advice))
    }
}

/// Reads what a person pasted: a code, or the whole URL of the redirect.
pub(super) fn pasted(text: &str, state: &SecretText) -> Result<Redirect, LoginError> {
    let bad = |why: &str, advice: &'static str| {
        Err(LoginError::new(LoginErrorKind::Pasted, why).with_advice(advice))
    };
    let text = text.trim();
    if text.contains("://") || text.contains('?') {
        let query = text.split_once('?').map_or("", |(_, query)| query);
        let query = query.split('#').next().unwrap_or_default();
        return match Redirect::read(query, state) {
            Ok(redirect) => Ok(redirect),
            Err(InvalidRedirect::State) => bad(
                "the pasted URL is not of this login, because its state is missing or different",
                "paste the URL that the browser shows at the end of the login that was started last",
            ),
            Err(InvalidRedirect::Empty) => bad(
                "the pasted URL holds no code",
                "paste the URL that the browser shows at the end of the login",
            ),
        };
    }
    // RFC 6749, appendix A.11.
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) {
        return bad(
            "the pasted text is not a code",
            "paste one word, or the whole URL that the browser shows",
        );
    }
    Ok(Redirect::Code(text.into()))
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
    fn p01_the_words_of_a_redirect_are_quoted_and_never_repeat_the_state() {
        let long = "x".repeat(300);
        let query = format!("state=st4te&error=a%0Ab&error_description=say%1B%E2%80%AE{long}");
        let error = read(&query).unwrap().code("http://base").unwrap_err();
        assert_eq!(error.kind(), LoginErrorKind::Refused);
        let text = error.to_string();
        assert!(
            text.starts_with(
                "http://base ended the login with an error (\"a\\nb\", \"say\\u{1b}\\u{202e}xxx"
            ),
            "{text}"
        );
        assert!(text.len() < 320, "{text}");
        assert_eq!(error.advice(), Some("log in again"));
        let query = "state=st4te&code=c&error=access_denied&error_description=of+st4te";
        let error = read(query).unwrap().code("http://base").unwrap_err();
        assert_eq!(
            error.message(),
            "http://base refused the login (\"access_denied\", (text that repeats a secret))"
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
