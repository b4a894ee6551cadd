//! From what went wrong to what a person reads: what happened, to which control plane and which
//! application, and what to do.

use std::{error, io};

use tower_bearer::{
    SourceError,
    oauth2::{Answer, AnswerError, Transport, TransportError},
};

use crate::{credentials::Who, proxy::ProxyError};

/// Who asked, and where: what every error names.
pub(crate) struct Scene<'a> {
    pub(crate) base: String,
    pub(crate) who: &'a Who,
}

impl Scene<'_> {
    /// There was no answer.
    pub(crate) fn failure(&self, failure: TransportError) -> SourceError {
        explained(&self.base, failure)
    }

    /// The answer is no token. `tried` are the paths at which there is no endpoint.
    pub(crate) fn flaw(&self, flaw: AnswerError, answer: &Answer, tried: &[String]) -> SourceError {
        let base = &self.base;
        let Who { name, advice, once } = self.who;
        let status = answer.status().as_u16();
        let said = answer
            .message()
            .map_or_else(String::new, |words| format!(", {words}"));
        let message = match &flaw {
            AnswerError::Refused => format!("{base} refused {name} ({status}{said}): {advice}"),
            AnswerError::ErrorMember(error, _) => {
                format!("{base} answered {name} with the error {error}: {advice}")
            }
            AnswerError::Unavailable => {
                format!("{base} cannot give a token to {name} at present ({status}{said})")
            }
            AnswerError::Redirect(location) => format!(
                "{base} redirects token requests to {location} ({status}), which is not followed, since the \
                 secret would go along: if that is the control plane, make it the URL"
            ),
            AnswerError::Absent => format!(
                "there is no {} at {base} ({status}): check that the URL is the control plane's own",
                tried.join(" and no ")
            ),
            AnswerError::WebPage => format!(
                "{base} answered with a web page where a token was asked for: check that the URL is the \
                 control plane's own, without a path of its UI"
            ),
            AnswerError::NotJson => self.no_token("its answer is not the JSON of a token"),
            AnswerError::NoToken => self.no_token("its answer has no access token"),
            AnswerError::TokenType => self.no_token("its token is not a bearer token"),
            AnswerError::Lifetime => {
                self.no_token("its token's lifetime is no positive number of seconds")
            }
            AnswerError::BadToken(_) => self.no_token("its access token cannot stand in a header"),
            _ => self.no_token("its answer is not known here"),
        };
        // A page is a firewall's word, and no reason to give a secret up for good.
        if *once && matches!(flaw, AnswerError::Refused) && answer.message().is_none() {
            return SourceError::malformed(message);
        }
        let error = flaw.into_error(answer, message);
        match once {
            true if error.is_invalid_credentials() => error.until_changed(),
            _ => error,
        }
    }

    fn no_token(&self, why: &str) -> String {
        let (base, name) = (&self.base, &self.who.name);
        format!("{base} gave {name} no token that can be used: {why}")
    }
}

/// Why nothing came of an exchange with a control plane.
pub(crate) fn explained(base: &str, failure: TransportError) -> SourceError {
    match failure {
        TransportError::TooLarge => SourceError::malformed(format!(
            "{base} answered with more than {} KiB where a token was asked for: check that the URL is the \
             control plane's own",
            Transport::ANSWER_CAP / 1024
        )),
        TransportError::Broken(error) => {
            let what = match cause(&*error) {
                Cause::Certificate => format!(
                    "the certificate of {base} is not trusted: if its CA is a private one, add it with \
                     root_certificates_file"
                ),
                Cause::UnknownHost => format!(
                    "the host of {base} is not known: check the URL, and that this machine's DNS knows it"
                ),
                Cause::Proxy(proxy) => format!(
                    "the forward proxy {proxy} does not let the connection to {base} through: check its \
                     address, user and password, and whether NO_PROXY should name the host"
                ),
                Cause::Refused => format!(
                    "nothing listens at {base}: check the URL and its port, or wait until the control \
                     plane is up"
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

enum Cause {
    Certificate,
    UnknownHost,
    /// The forward proxy of that name said no.
    Proxy(String),
    Refused,
    NoTls,
    Other,
}

/// Looks through the chain for what a person can do something about.
fn cause(error: &(dyn error::Error + 'static)) -> Cause {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refusal) = error.downcast_ref::<ProxyError>() {
            return Cause::Proxy(refusal.proxy.clone());
        }
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
