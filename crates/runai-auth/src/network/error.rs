//! Errors of the HTTP client, without the words of the server.

use std::{error, fmt, io};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use rustls::CertificateError;
use tower::ServiceExt;
use tower_bearer::{BoxError, oauth2::Transport};
use tower_service::Service;

/// An error of [`HttpClient`](super::HttpClient) that the server may have written words into: the debug data
/// of an HTTP/2 `GOAWAY`, or the names in a certificate. Its text says the reason, without those words.
///
/// All other errors of the client are hyper's own.
pub struct HttpError {
    /// What layer failed, and the reason.
    shown: Vec<String>,
    is_connect: bool,
    client_error: BoxError,
}

impl HttpError {
    /// Returns an error as it is, or without the server's words if it may hold some.
    pub(super) fn clean(error: BoxError) -> BoxError {
        let mut shown = Vec::new();
        let mut has_words = false;
        let mut next: Option<&(dyn error::Error + 'static)> = Some(&*error);
        while let Some(link) = next {
            if let Some(inner) = link
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
            {
                // It shows the text of the error inside, and has its source.
                next = Some(inner);
                continue;
            }
            if let Some(reason) = reason(link) {
                let words = link.to_string();
                shown.retain(|text: &String| !text.contains(&words));
                shown.push(reason);
                has_words = true;
                break;
            }
            shown.push(link.to_string());
            next = link.source();
        }
        if !has_words {
            return error;
        }
        let client = error.downcast_ref::<legacy::Error>();
        Box::new(Self {
            shown,
            is_connect: client.is_some_and(legacy::Error::is_connect),
            client_error: error,
        })
    }

    /// Returns whether there was no connection, so that no request was sent.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        self.is_connect
    }

    /// Returns the client's error, to ask for its type. Its text holds the server's words.
    pub(crate) fn client_error(&self) -> &(dyn error::Error + 'static) {
        &*self.client_error
    }
}

/// Returns the reason of an error that may hold words of the server.
fn reason(error: &(dyn error::Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        let what = match error.is_go_away() {
            true => "connection",
            false => "stream",
        };
        let reason = error.reason().filter(|_| error.is_remote())?;
        return Some(format!("the server ended the HTTP/2 {what}: {reason}"));
    }
    match error.downcast_ref()? {
        rustls::Error::InvalidCertificate(why) => {
            let why = certificate(why);
            Some(format!("invalid peer certificate: {why}"))
        }
        _ => None,
    }
}

/// What is wrong with a certificate, without what it says of itself.
fn certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::BadEncoding => "it cannot be read",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet"
        }
        CertificateError::Revoked => "it is revoked",
        CertificateError::UnknownIssuer => "its issuer is unknown",
        CertificateError::BadSignature => "its signature is wrong",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another host"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not a server's"
        }
        _ => "it is not accepted",
    }
}

/// Erases the type of a client, whose errors and whose bodies' errors then hold no words of the server.
pub(crate) fn transport<S, B>(service: S) -> Transport
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let service = service
        .map_err(|error| HttpError::clean(error.into()))
        .map_response(|response: Response<B>| {
            response.map(|body| body.map_err(|error| HttpError::clean(error.into())))
        });
    Transport::new(service)
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown.join(": "))
    }
}

impl fmt::Debug for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The client's error is not its source, because that has the server's words.
impl error::Error for HttpError {}

#[cfg(test)]
mod tests {
    use tower_bearer::Report;

    use super::*;

    /// The error of a request whose HTTP/2 connection the server ends with these words.
    async fn go_away(words: &[u8]) -> BoxError {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let payload = [&[0, 0, 0, 0, 0, 0, 0, 2], words].concat();
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [len[1], len[2], len[3], 7, 0, 0, 0, 0, 0];
        let sent = [&[0, 0, 0, 4, 0, 0, 0, 0, 0], &head[..], &payload].concat();
        let (mut read, mut write) = tokio::io::split(theirs);
        tokio::io::AsyncWriteExt::write_all(&mut write, &sent)
            .await
            .unwrap();
        let (mut client, connection) = h2::client::handshake(ours).await.unwrap();
        tokio::spawn(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await });
        let ended = tokio::spawn(connection);
        let request = http::Request::new(());
        let response = client.send_request(request, true);
        let error = match ended.await.unwrap() {
            Err(error) => error,
            Ok(()) => response.unwrap().0.await.unwrap_err(),
        };
        error.into()
    }

    #[tokio::test]
    async fn p01_the_words_of_a_goaway_are_replaced_by_its_reason() {
        let error = go_away(b"hint: run curl; you sent s3cr3t").await;
        assert!(error.to_string().contains("s3cr3t"), "{error}");
        // As the client has it: inside of others, one of which repeats its text.
        let outer: BoxError = io::Error::other(error).into();
        let clean = HttpError::clean(outer);
        assert!(clean.is::<HttpError>() && clean.source().is_none());
        for shown in [
            clean.to_string(),
            format!("{clean:?}"),
            Report::new(&*clean).to_string(),
        ] {
            assert!(shown.contains("unexpected internal error"), "{shown}");
            assert!(!shown.contains("s3cr3t"), "{shown}");
        }
    }

    #[test]
    fn p01_the_names_of_a_certificate_are_not_shown() {
        let why = CertificateError::NotValidForNameContext {
            expected: rustls::pki_types::ServerName::try_from("acme.run.ai").unwrap(),
            presented: vec!["DnsName(\"hint: run curl\")".into()],
        };
        let error = rustls::Error::InvalidCertificate(why);
        let clean = HttpError::clean(io::Error::other(error).into());
        assert_eq!(
            clean.to_string(),
            "invalid peer certificate: it is for another host"
        );
    }

    #[test]
    fn other_errors_stay_as_they_are() {
        let error = HttpError::clean(io::Error::from(io::ErrorKind::ConnectionReset).into());
        assert!(error.is::<io::Error>());
    }
}
