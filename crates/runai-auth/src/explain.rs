//! From what went wrong to what a person reads: what happened, to which control plane and which
//! application, and what to do.

use std::{error, io};

use tower_bearer::SourceError;

use crate::{
    answer::{self, Flaw},
    control_plane::ControlPlane,
    credentials::Credentials,
    source::TOKEN_PATH,
    transport::{ANSWER_CAP, Answer, Failure},
};

/// The most that is shown of the server's own words.
const SHOWN: usize = 200;

/// Who asked, and where: what every error names.
pub(crate) struct Scene<'a> {
    pub(crate) control_plane: &'a ControlPlane,
    pub(crate) credentials: &'a Credentials,
    /// The secret that was sent, which no text may repeat.
    pub(crate) secret: &'a str,
}

impl Scene<'_> {
    /// There was no answer.
    pub(crate) fn failure(&self, failure: Failure) -> SourceError {
        let base = self.control_plane.base();
        match failure {
            Failure::TooLarge => SourceError::malformed(format!(
                "{base} answered with more than {} KiB where a token was asked for: check that the URL \
                 is the control plane's own",
                ANSWER_CAP / 1024
            )),
            Failure::Broken(error) => {
                let what = match cause(&*error) {
                    Cause::Certificate => format!(
                        "the certificate of {base} is not trusted: if its CA is a private one, add it \
                         with root_certificates_pem"
                    ),
                    Cause::UnknownHost => format!(
                        "the host of {base} is not known: check the URL, and that this machine's DNS \
                         knows it"
                    ),
                    Cause::Refused => format!(
                        "nothing listens at {base}: check the URL and its port, or wait until the \
                         control plane is up"
                    ),
                    Cause::NoTls => format!(
                        "{base} does not speak TLS: if it is to be reached without, write http://"
                    ),
                    Cause::Other => format!("the exchange with {base} broke off"),
                };
                SourceError::transient(what).with_source(error)
            }
        }
    }

    /// The answer is no token.
    pub(crate) fn flaw(&self, flaw: Flaw, answer: &Answer, local: f64) -> SourceError {
        let base = self.control_plane.base();
        let id = self.credentials.id();
        let status = answer.status.as_u16();
        let said = self.said(answer);
        match flaw {
            Flaw::Refused => SourceError::refused(format!(
                "{base} refused application `{id}` ({status}{said}): check the application's name and \
                 its secret key; regenerating the key revokes the previous one"
            )),
            Flaw::ErrorMember(error) => {
                let error = self.clean(&error);
                let message = format!(
                    "{base} answered application `{id}` with the error `{error}`: check the \
                     application's name and its secret key"
                );
                match error.as_str() {
                    "invalid_client" | "unauthorized_client" | "invalid_grant" => {
                        SourceError::refused(message)
                    }
                    _ => SourceError::malformed(message),
                }
            }
            Flaw::Failing => {
                let error = SourceError::transient(format!(
                    "{base} cannot give a token to application `{id}` at present ({status}{said})"
                ));
                match answer::retry_after(answer, local) {
                    Some(delay) => error.retry_after(delay),
                    None => error,
                }
            }
            Flaw::Redirect(location) => SourceError::malformed(format!(
                "{base} redirects token requests to {} ({status}), which is not followed, since the \
                 secret would go along: if that is the control plane, make it the URL",
                self.clean(location.split(['?', '#']).next().unwrap_or_default())
            )),
            Flaw::NoSuchEndpoint => SourceError::malformed(format!(
                "there is no {TOKEN_PATH} at {base} ({status}): check that the URL is the control \
                 plane's own"
            )),
            Flaw::Html => SourceError::malformed(format!(
                "{base} answered with a web page where a token was asked for: check that the URL is the \
                 control plane's own, without a path of its UI"
            )),
            Flaw::NotJson => self.no_token("its answer is not the JSON of a token"),
            Flaw::NoToken => self.no_token("its answer has no access token"),
            Flaw::TokenType => self.no_token("its token is not a bearer token"),
            Flaw::Lifetime => {
                self.no_token("its token's lifetime is no positive number of seconds")
            }
            Flaw::BadToken(invalid) => self
                .no_token("its access token cannot stand in a header")
                .with_source(invalid),
        }
    }

    fn no_token(&self, why: &str) -> SourceError {
        let base = self.control_plane.base();
        let id = self.credentials.id();
        SourceError::malformed(format!(
            "{base} gave application `{id}` no token that can be used: {why}"
        ))
    }

    fn said(&self, answer: &Answer) -> String {
        answer::message(answer).map_or_else(String::new, |it| format!(", \"{}\"", self.clean(&it)))
    }

    /// The server's words: on one line, not endless, and not at all if they repeat the secret.
    fn clean(&self, text: &str) -> String {
        if repeats(text, self.secret) {
            return "words that repeat the secret".into();
        }
        let mut clean: String = text
            .chars()
            .map(|c| if is_printable(c) { c } else { ' ' })
            .take(SHOWN)
            .collect();
        if text.chars().nth(SHOWN).is_some() {
            clean.push('…');
        }
        clean
    }
}

/// Whether a text holds the secret, as it is or escaped for JSON, a URL or a form. Escapes leave letters
/// and digits as they are, so the longest run of those is what is looked for.
fn repeats(text: &str, secret: &str) -> bool {
    let runs = secret.split(|c: char| !c.is_ascii_alphanumeric());
    let longest = runs.max_by_key(|run| run.len()).unwrap_or_default();
    match longest.len() {
        // Too little to tell; any word might hold it.
        0..=2 => !secret.is_empty() && text.contains(secret),
        _ => text.contains(longest),
    }
}

/// Whether a character shows as itself and moves no other.
fn is_printable(c: char) -> bool {
    let moves =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !moves
}

enum Cause {
    Certificate,
    UnknownHost,
    Refused,
    NoTls,
    Other,
}

/// Looks through the chain for what a person can do something about.
fn cause(error: &(dyn error::Error + 'static)) -> Cause {
    let mut next = Some(error);
    while let Some(error) = next {
        match error.downcast_ref() {
            Some(rustls::Error::InvalidCertificate(_)) => return Cause::Certificate,
            Some(rustls::Error::InvalidMessage(_)) => return Cause::NoTls,
            _ => {}
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if error.kind() == io::ErrorKind::ConnectionRefused {
                return Cause::Refused;
            }
            // An `io::Error` that wraps another shows the other's source, not the other.
            if let Some(inner) = error.get_ref() {
                match cause(inner) {
                    Cause::Other => {}
                    found => return found,
                }
            }
        }
        // The resolver's error has no type of its own, only these words of hyper-util's connector.
        if error.to_string() == "dns error" {
            return Cause::UnknownHost;
        }
        next = error.source();
    }
    Cause::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_however_it_is_escaped() {
        let secret = "S3CR3T\"q\\uote/+\u{e9}";
        for text in [
            secret,
            r#"{"AppSecret":"S3CR3T\"q\\uote/+\u00e9"}"#,
            "http://elsewhere.example/?s=S3CR3T%22q%5Cuote%2F%2B%C3%A9",
            "s=S3CR3T%22q%5cuote%2f%2b%c3%a9",
        ] {
            assert!(repeats(text, secret), "{text}");
        }
        assert!(!repeats("Invalid client credentials", secret));
        assert!(!repeats("anything", "") && !repeats("a word", "a-b"));
        assert!(repeats("it is a-b", "a-b"));
    }
}
