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
                self.clean(&location)
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

    /// The server's words: on one line, not endless, and without the secret.
    fn clean(&self, text: &str) -> String {
        let secret = self.credentials.secret();
        let scrubbed = match secret.is_empty() {
            true => text.to_owned(),
            false => text.replace(secret, "[secret]"),
        };
        let mut clean: String = scrubbed
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(SHOWN)
            .collect();
        if scrubbed.chars().nth(SHOWN).is_some() {
            clean.push('…');
        }
        clean
    }
}

enum Cause {
    Certificate,
    UnknownHost,
    Refused,
    Other,
}

/// Looks through the chain for what a person can do something about.
fn cause(error: &(dyn error::Error + 'static)) -> Cause {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return Cause::Certificate;
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
