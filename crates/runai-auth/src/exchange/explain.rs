//! Turns failures into errors for people: what happened, at which control plane, for which application, and
//! what to do.

use std::{borrow::Cow, error, io};

use tower_bearer::{
    SourceError,
    oauth2::{Answer, AnswerError, Transport, TransportError},
};

use crate::{
    error::SetupError,
    network::{HttpError, ProxyError, UnknownHost},
};

const CHECK_URL: &str = "check that the URL is the control plane's own";

/// Whose token it is, in words for errors.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// Like `application "ci-bot"`.
    pub(crate) name: String,
    /// What to do when the control plane rejects the credentials.
    pub(crate) advice: &'static str,
    /// Whether a second attempt with the same secret could do harm.
    pub(crate) single_use: bool,
}

/// The two sides of a token request, which every error names.
pub(crate) struct Parties<'a> {
    /// The URL of the control plane or the issuer.
    pub(crate) base: String,
    pub(crate) subject: &'a Subject,
}

impl Parties<'_> {
    /// Explains why there was no answer.
    pub(crate) fn no_answer(&self, error: TransportError) -> SourceError {
        explained(&self.base, error)
    }

    /// Explains why an answer holds no token. `tried` are the paths at which there is no endpoint.
    pub(crate) fn no_token(
        &self,
        error: AnswerError,
        answer: &Answer,
        tried: &[String],
    ) -> SourceError {
        let base = &self.base;
        let Subject {
            name,
            advice,
            single_use,
        } = self.subject;
        let status = answer.status().as_u16();
        let answered = match answer.message() {
            Some(words) => format!("{status}, {words}"),
            None => status.to_string(),
        };
        let unusable = |why| format!("{base} gave {name} no usable token: {why}");
        let (message, advice) = match &error {
            AnswerError::Refused => (format!("{base} refused {name} ({answered})"), *advice),
            AnswerError::ErrorMember(error, _) => (
                format!("{base} answered {name} with the error {error}"),
                *advice,
            ),
            AnswerError::Unavailable => (
                format!("{base} cannot give a token to {name} at present ({answered})"),
                "wait until it is up again",
            ),
            AnswerError::Redirect(location) => (
                format!(
                    "{base} redirects token requests to {location} ({status}), which is not followed, \
                     because the secret would go along"
                ),
                "if that is the control plane, use its URL",
            ),
            AnswerError::Absent => (
                format!(
                    "there is no {} at {base} ({status})",
                    tried.join(" and no ")
                ),
                CHECK_URL,
            ),
            AnswerError::WebPage => (
                format!("{base} answered a token request with a web page"),
                "check that the URL is the control plane's own, without a path of its UI",
            ),
            AnswerError::Status => (
                format!(
                    "{base} answered {name} with the status {status}, which HTTP does not have"
                ),
                CHECK_URL,
            ),
            AnswerError::NotJson => (unusable("its answer is not the JSON of a token"), CHECK_URL),
            AnswerError::NoToken => (unusable("its answer has no access token"), CHECK_URL),
            AnswerError::TokenType => (unusable("its token is not a bearer token"), CHECK_URL),
            AnswerError::Lifetime => (
                unusable("its token's lifetime is not a positive number of seconds"),
                CHECK_URL,
            ),
            AnswerError::BadToken(_) => (
                unusable("its access token is not allowed in a header"),
                CHECK_URL,
            ),
            _ => (unusable("its answer is of an unknown kind"), CHECK_URL),
        };
        // An HTML page comes from a middlebox, so it does not invalidate the secret.
        let is_page = matches!(error, AnswerError::Refused) && answer.message().is_none();
        let error = match *single_use && is_page {
            true => SourceError::malformed(message),
            false => error.into_error(answer, message),
        };
        let error = error.with_advice(advice);
        match *single_use && error.is_invalid_credentials() {
            true => error.until_changed(),
            false => error,
        }
    }
}

/// Explains why no request can be sent: what was set up cannot be used.
pub(crate) fn unusable(error: SetupError) -> SourceError {
    let advice = error.advice().unwrap_or("check the certificates");
    let advice = advice.to_owned();
    SourceError::malformed(error.message().to_owned())
        .with_advice(advice)
        .with_source(error)
}

/// Explains why there was no answer from a control plane.
pub(crate) fn explained(base: &str, error: TransportError) -> SourceError {
    let cause = match error {
        TransportError::Broken(cause) => cause,
        TransportError::TooLarge => {
            let cap = Transport::ANSWER_CAP / 1024;
            let message = format!("{base} answered a token request with more than {cap} KiB");
            return SourceError::malformed(message).with_advice(CHECK_URL);
        }
    };
    let (message, advice): (_, Cow<'static, str>) = match classify(cause.client_error()) {
        Cause::Certificate => {
            let message = format!("the certificate of {base} is not trusted");
            return SourceError::untrusted(message)
                .with_advice("if its CA is a private one, add it with root_certificates_file")
                .with_source(cause);
        }
        Cause::UnknownHost => (
            format!("the host of {base} is unknown"),
            "check the URL, and that this machine's DNS knows the host".into(),
        ),
        Cause::Proxy(proxy) => (
            format!("the forward proxy {proxy} does not connect to {base}"),
            "check the proxy's address, user and password, and whether NO_PROXY should name the host"
                .into(),
        ),
        Cause::NotHttpProxy(proxy) => (
            format!("the forward proxy {proxy} to {base} is not an HTTP proxy"),
            "use a proxy with an http:// URL".into(),
        ),
        Cause::ConnectionRefused => (
            format!("nothing listens at {base}"),
            "check the URL and its port, or wait until the control plane is up".into(),
        ),
        Cause::NoTls => (
            format!("{base} does not speak TLS"),
            "if it should be used without TLS, write http://".into(),
        ),
        Cause::Other => {
            let reason = cause.reason();
            (
                format!("the exchange with {base} broke off ({reason})"),
                "check the URL, and that the control plane is up".into(),
            )
        }
    };
    SourceError::transient(message)
        .with_advice(advice)
        .with_source(cause)
}

/// A cause that a person can act on.
enum Cause {
    Certificate,
    UnknownHost,
    /// The forward proxy at this address did not connect.
    Proxy(String),
    /// The forward proxy at this address is not an HTTP proxy.
    NotHttpProxy(String),
    ConnectionRefused,
    NoTls,
    Other,
}

/// Looks in the chain for a cause that a person can act on.
fn classify(error: &(dyn error::Error + 'static)) -> Cause {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<HttpError>() {
            return classify(error.client_error());
        }
        if let Some(error) = error.downcast_ref::<ProxyError>() {
            return match error.is_http() {
                true => Cause::Proxy(error.proxy().to_owned()),
                false => Cause::NotHttpProxy(error.proxy().to_owned()),
            };
        }
        if error.is::<UnknownHost>() {
            return Cause::UnknownHost;
        }
        match error.downcast_ref() {
            Some(rustls::Error::InvalidCertificate(_)) => return Cause::Certificate,
            Some(rustls::Error::InvalidMessage(_)) => return Cause::NoTls,
            _ => {}
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if error.kind() == io::ErrorKind::ConnectionRefused {
                return Cause::ConnectionRefused;
            }
            // The source of an `io::Error` that wraps another is that of the other.
            if let Some(inner) = error.get_ref() {
                match classify(inner) {
                    Cause::Other => {}
                    cause => return cause,
                }
            }
        }
        next = error.source();
    }
    Cause::Other
}
