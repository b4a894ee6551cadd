//! Where the token endpoint is: configured, or discovered in the issuer's document.

use std::sync::{Mutex, PoisonError};

use http::Uri;
use serde::Deserialize;

use super::{
    request::TokenRequest,
    secret::SecretText,
    transport::{Transport, TransportError},
    url::bare_url,
};
use crate::{
    auth::{InvalidOrigin, Origin},
    error::SourceError,
    foreign_text::ForeignText,
};

/// The well-known documents (OpenID Connect Discovery 1.0, section 4; RFC 8414, section 3).
const OPENID: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";

/// Where tokens are asked for: a URL, or an issuer whose document names it.
#[derive(Debug)]
pub struct Endpoint {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Configured(Uri),
    Discovered {
        issuer: String,
        /// Other origins than the issuer's own that the token endpoint may be on.
        origins: Vec<Origin>,
        found: Mutex<Option<Uri>>,
    },
}

impl Endpoint {
    /// The URL of the token endpoint.
    ///
    /// # Errors
    ///
    /// If it is not a URL, or if it is reached over a network without TLS.
    pub fn new(url: &str) -> Result<Self, InvalidOrigin> {
        let uri = checked(url)?;
        Ok(Self {
            place: Place::Configured(uri),
        })
    }

    /// Like [`new`](Self::new), but also without TLS. Everybody on the way can then read the secret and the
    /// token.
    ///
    /// # Errors
    ///
    /// If it is not a URL.
    pub fn new_insecure(url: &str) -> Result<Self, InvalidOrigin> {
        Origin::parse_http(url)?;
        let uri = url.parse().map_err(|_| InvalidOrigin::not_a_url(url))?;
        Ok(Self {
            place: Place::Configured(uri),
        })
    }

    /// An issuer, whose discovery document names the token endpoint. The document is read at the first
    /// fetch, and again when the endpoint has disappeared.
    ///
    /// The document must name this issuer, and its token endpoint must be on the issuer's origin; see
    /// [`also_on`](Self::also_on).
    ///
    /// # Errors
    ///
    /// If it is not a URL, or is reached over a network without TLS.
    pub fn discover(issuer: &str) -> Result<Self, InvalidOrigin> {
        checked(issuer)?;
        Ok(Self {
            place: Place::Discovered {
                issuer: issuer.trim_end_matches('/').to_owned(),
                origins: Vec::new(),
                found: Mutex::default(),
            },
        })
    }

    /// Allows the discovered token endpoint to be on this origin too. The secret then goes there.
    ///
    /// Defaults to the issuer's origin alone.
    ///
    /// # Errors
    ///
    /// If it is not an origin.
    pub fn also_on(mut self, origin: &str) -> Result<Self, InvalidOrigin> {
        let origin = Origin::parse(origin)?;
        if let Place::Discovered { origins, .. } = &mut self.place {
            origins.push(origin);
        }
        Ok(self)
    }

    /// Returns what errors call it.
    pub(crate) fn name(&self) -> String {
        match &self.place {
            Place::Configured(uri) => bare_url(&uri.to_string()),
            Place::Discovered { issuer, .. } => bare_url(issuer),
        }
    }

    /// Returns the token endpoint, and discovers it if that is necessary.
    pub(crate) async fn resolve(&self, transport: &Transport) -> Result<Uri, SourceError> {
        let (issuer, origins, found) = match &self.place {
            Place::Configured(uri) => return Ok(uri.clone()),
            Place::Discovered {
                issuer,
                origins,
                found,
            } => (issuer, origins, found),
        };
        let known = found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(uri) = known {
            return Ok(uri);
        }
        let metadata = Metadata::discover(transport, issuer).await?;
        let uri = metadata.token_endpoint_on(origins)?;
        *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(uri.clone());
        Ok(uri)
    }

    /// Forgets a discovered endpoint that has disappeared, so that the next fetch reads the document again.
    pub(crate) fn forget(&self) {
        if let Place::Discovered { found, .. } = &self.place {
            *found.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// A URL over TLS, or on this machine.
fn checked(url: &str) -> Result<Uri, InvalidOrigin> {
    let origin = Origin::parse_http(url)?;
    if !origin.is_safe() {
        return Err(InvalidOrigin::insecure_endpoint(&origin));
    }
    url.parse().map_err(|_| InvalidOrigin::not_a_url(url))
}

/// The members of an issuer's discovery document that this crate needs.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Metadata {
    /// The issuer's name of itself.
    pub issuer: String,
    /// Where tokens are asked for.
    pub token_endpoint: String,
    /// Where a person logs in.
    #[serde(default)]
    pub authorization_endpoint: Option<String>,
    /// The PKCE methods (RFC 7636) that it supports.
    #[serde(default)]
    pub code_challenge_methods_supported: Vec<String>,
    /// The secrets that no error repeats.
    #[serde(skip)]
    secrets: Vec<SecretText>,
}

impl Metadata {
    /// Reads the issuer's document. Nothing secret is sent.
    ///
    /// # Errors
    ///
    /// If there is none, or if it is another issuer's.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the request.
    pub async fn discover(transport: &Transport, issuer: &str) -> Result<Self, SourceError> {
        let issuer = issuer.trim_end_matches('/');
        let shown = ForeignText::new(&bare_url(issuer));
        for url in well_known(issuer) {
            let uri = url.parse().map_err(|error: http::uri::InvalidUri| {
                SourceError::malformed(format!("the issuer {shown} is not a URL"))
                    .with_advice("check the issuer's URL")
                    .with_source(error)
            })?;
            let url = ForeignText::new(&bare_url(&url));
            let answer = transport.send(TokenRequest::get(uri)).await;
            let answer = answer.map_err(|error| failed(&shown.to_string(), error))?;
            let status = answer.status().as_u16();
            match status {
                200 if !answer.is_web_page() => {}
                408 | 425 | 429 | 500..=599 => {
                    let error = SourceError::transient(format!(
                        "{url} cannot be read at present ({status})"
                    ))
                    .with_advice("wait until it is up again");
                    return Err(match answer.retry_after() {
                        Some(delay) => error.retry_after(delay),
                        None => error,
                    });
                }
                _ => continue,
            }
            let read = serde_json::from_slice::<Self>(answer.expose_body());
            let mut metadata = read.map_err(|error| {
                // The error's own text shows values of the document.
                let at = format!("line {}, column {}", error.line(), error.column());
                SourceError::malformed(format!("{url} is not an issuer's document ({at})"))
                    .with_advice("check the issuer's URL")
            })?;
            metadata.secrets.clone_from(&answer.secrets);
            // Another issuer's document would send the secret there (section 4.3 of the first).
            if metadata.issuer.trim_end_matches('/') != issuer {
                let other = metadata.shown(&metadata.issuer);
                return Err(SourceError::malformed(format!(
                    "{url} is the document of another issuer, {other}, and not of {shown}"
                ))
                .with_advice("check the issuer's URL"));
            }
            return Ok(metadata);
        }
        Err(
            SourceError::malformed(format!("the issuer {shown} has no discovery document"))
                .with_advice("check its URL, or configure the URL of its token endpoint"),
        )
    }

    /// Returns the token endpoint, if it is on the issuer's own origin or on one of these.
    ///
    /// # Errors
    ///
    /// If it is elsewhere or not a URL: the secret would go there.
    pub fn token_endpoint_on(&self, origins: &[Origin]) -> Result<Uri, SourceError> {
        let issuer = self.shown(&self.issuer);
        let origin = Origin::parse_http(&self.token_endpoint);
        let uri = self.token_endpoint.parse::<Uri>();
        let (Ok(origin), Ok(uri)) = (origin, uri) else {
            let endpoint = self.shown(&self.token_endpoint);
            return Err(SourceError::malformed(format!(
                "the document of {issuer} names the token endpoint {endpoint}, which is not a URL"
            ))
            .with_advice(
                "mend the issuer's document, or configure the URL of its token endpoint",
            ));
        };
        let own = Origin::parse(&self.issuer).is_ok_and(|own| own == origin);
        if own || origins.contains(&origin) {
            return Ok(uri);
        }
        let origin = self.shown(&origin.to_string());
        Err(SourceError::malformed(format!(
            "the document of {issuer} names a token endpoint on another origin, {origin}, and the secret \
             is not sent there"
        ))
        .with_advice("if the endpoint is right, allow its origin"))
    }
}

impl Metadata {
    /// A URL of the document, which may repeat what the issuer was sent.
    fn shown(&self, url: &str) -> ForeignText {
        let secrets = self.secrets.iter().map(SecretText::expose_secret);
        ForeignText::without_secrets(&bare_url(url), secrets)
    }
}

/// The places where an issuer's document may be: RFC 8414 puts the path after the well-known part.
fn well_known(issuer: &str) -> [String; 2] {
    let after_scheme = issuer.find("://").map_or(0, |at| at + 3);
    let at = issuer[after_scheme..].find('/');
    let (base, path) = issuer.split_at(at.map_or(issuer.len(), |at| after_scheme + at));
    [format!("{issuer}{OPENID}"), format!("{base}{OAUTH}{path}")]
}

pub(crate) fn failed(place: &str, error: TransportError) -> SourceError {
    match error {
        TransportError::Broken(error) => {
            let reason = error.reason();
            SourceError::transient(format!("the exchange with {place} broke off ({reason})"))
                .with_advice("check the URL and that the endpoint is up")
                .with_source(error)
        }
        TransportError::TooLarge => SourceError::malformed(format!(
            "{place} answered with more than {} KiB",
            Transport::ANSWER_CAP / 1024
        ))
        .with_advice("check the URL"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;
    use crate::oauth2::OAuth2Source;

    #[test]
    fn the_documents_places() {
        assert_eq!(
            well_known("https://idp.example/realms/a"),
            [
                "https://idp.example/realms/a/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server/realms/a",
            ]
        );
        assert_eq!(
            well_known("https://idp.example")[1],
            "https://idp.example/.well-known/oauth-authorization-server"
        );
    }

    #[test]
    fn a_token_endpoint_elsewhere_must_be_allowed() {
        let metadata = |token_endpoint: &str| Metadata {
            issuer: "https://idp.example/a".into(),
            token_endpoint: token_endpoint.into(),
            authorization_endpoint: None,
            code_challenge_methods_supported: Vec::new(),
            secrets: Vec::new(),
        };
        let elsewhere = Origin::parse("https://tokens.example").unwrap();
        let own = metadata("https://IDP.example:443/token");
        assert!(own.token_endpoint_on(&[]).is_ok());
        let other = metadata("https://tokens.example/token");
        let error = other.token_endpoint_on(&[]).unwrap_err().to_string();
        assert!(
            error.contains("another origin, \"https://tokens.example\""),
            "{error}"
        );
        assert!(other.token_endpoint_on(&[elsewhere]).is_ok());
        for odd in [
            "http://idp.example/token",
            "https://user@idp.example/",
            "token",
        ] {
            assert!(metadata(odd).token_endpoint_on(&[]).is_err(), "{odd}");
        }
    }

    #[test]
    fn an_endpoint_without_tls_is_refused() {
        assert!(Endpoint::new("http://idp.example/token").is_err());
        assert!(Endpoint::discover("http://idp.example").is_err());
        assert!(Endpoint::new("http://127.0.0.1:8080/token").is_ok());
        assert!(Endpoint::new("https://idp.example/token").is_ok());
    }

    /// A provider that answers these bodies, one after the other, and counts the documents that it gave.
    fn provider(answers: &[(u16, &str)]) -> Transport {
        let answers: Vec<_> = answers
            .iter()
            .map(|(status, body)| (*status, (*body).to_owned()))
            .collect();
        let answers = Mutex::new(answers.into_iter());
        let answers = Arc::new(answers);
        Transport::new(tower::service_fn(move |_: http::Request<Full<Bytes>>| {
            let (status, body) = answers.lock().unwrap().next().expect("it is asked no more");
            let answer = http::Response::builder().status(status);
            let answer = answer.body(Full::new(Bytes::from(body))).unwrap();
            async move { Ok::<_, std::convert::Infallible>(answer) }
        }))
    }

    fn document(issuer: &str) -> String {
        format!(r#"{{"issuer":"{issuer}","token_endpoint":"https://idp.example/token"}}"#)
    }

    #[tokio::test]
    async fn another_issuers_document_is_refused() {
        let own = document("https://idp.example/");
        let found = Metadata::discover(&provider(&[(200, &own)]), "https://idp.example").await;
        assert_eq!(found.unwrap().token_endpoint, "https://idp.example/token");
        let other = document("https://evil.example");
        let found = Metadata::discover(&provider(&[(200, &other)]), "https://idp.example").await;
        let error = found.unwrap_err().to_string();
        assert!(error.contains("another issuer"), "{error}");
    }

    #[tokio::test]
    async fn a_discovered_endpoint_is_remembered_until_it_disappears() {
        let own = document("https://idp.example");
        let token = r#"{"access_token":"t"}"#;
        let transport = provider(&[
            (200, &own),
            (200, token),
            (200, token),
            (404, ""),
            (200, &own),
            (200, token),
        ]);
        let endpoint = Endpoint::discover("https://idp.example").unwrap();
        let client = crate::oauth2::Client::public("tests");
        let source = OAuth2Source::over(transport, endpoint, client);
        let clock = crate::clock::ManualClock::new();
        let cache = crate::TokenCache::builder(source)
            .clock(clock.clone())
            .build();
        let mut tokens = Vec::new();
        for _ in 0..4 {
            tokens.push(cache.token().await.is_ok());
            clock.advance(std::time::Duration::from_secs(600));
        }
        assert_eq!(tokens, [true, true, false, true]);
    }
}
