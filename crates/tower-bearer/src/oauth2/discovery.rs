//! Where the token endpoint is: told, or found in the issuer's document.

use std::sync::{Mutex, PoisonError};

use http::Uri;
use serde::Deserialize;

use super::{
    request::TokenRequest,
    transport::{Failure, Transport},
};
use crate::{
    auth::{InvalidOrigin, Origin},
    source::SourceError,
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
    Told(Uri),
    Discovered {
        issuer: String,
        /// Other origins than the issuer's own that the token endpoint may be on.
        origins: Vec<Origin>,
        found: Mutex<Option<Uri>>,
    },
}

impl Endpoint {
    /// The token endpoint's own URL.
    ///
    /// # Errors
    ///
    /// If it is no URL, or a network would carry the secret without TLS.
    pub fn new(url: &str) -> Result<Self, InvalidOrigin> {
        let uri = checked(url)?;
        Ok(Self {
            place: Place::Told(uri),
        })
    }

    /// The same, also without TLS, where everybody on the way can read the secret and the token.
    ///
    /// # Errors
    ///
    /// If it is no URL.
    pub fn new_insecure(url: &str) -> Result<Self, InvalidOrigin> {
        Origin::parse(url)?;
        let uri = url.parse().map_err(|_| InvalidOrigin::not_a_url(url))?;
        Ok(Self {
            place: Place::Told(uri),
        })
    }

    /// An issuer, whose document says where its token endpoint is. It is read at the first fetch, and
    /// again when the endpoint has gone.
    ///
    /// The document must be the issuer's own, and its token endpoint on the issuer's origin; see
    /// [`also_on`](Self::also_on).
    ///
    /// # Errors
    ///
    /// If it is no URL, or is reached over a network without TLS.
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

    /// Lets the token endpoint that is discovered be on this origin too, where the secret then goes: for
    /// issuers that keep it elsewhere.
    ///
    /// Defaults to the issuer's origin alone.
    ///
    /// # Errors
    ///
    /// If it is no origin.
    pub fn also_on(mut self, origin: &str) -> Result<Self, InvalidOrigin> {
        let origin = Origin::parse(origin)?;
        if let Place::Discovered { origins, .. } = &mut self.place {
            origins.push(origin);
        }
        Ok(self)
    }

    /// What errors call it.
    pub(crate) fn name(&self) -> String {
        match &self.place {
            Place::Told(uri) => uri.to_string(),
            Place::Discovered { issuer, .. } => issuer.clone(),
        }
    }

    /// The token endpoint, from the issuer's document if need be.
    pub(crate) async fn resolve(&self, transport: &Transport) -> Result<Uri, SourceError> {
        let (issuer, origins, found) = match &self.place {
            Place::Told(uri) => return Ok(uri.clone()),
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

    /// The endpoint has gone, so the document is read anew next time.
    pub(crate) fn forget(&self) {
        if let Place::Discovered { found, .. } = &self.place {
            *found.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// A URL over TLS, or on this machine.
fn checked(url: &str) -> Result<Uri, InvalidOrigin> {
    let origin = Origin::parse(url)?;
    if !origin.is_safe() {
        return Err(InvalidOrigin::insecure_endpoint(&origin));
    }
    url.parse().map_err(|_| InvalidOrigin::not_a_url(url))
}

/// What an issuer's document says, as far as it is needed here.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Metadata {
    /// The issuer, as it calls itself.
    pub issuer: String,
    /// Where tokens are asked for.
    pub token_endpoint: String,
    /// Where a person logs in.
    #[serde(default)]
    pub authorization_endpoint: Option<String>,
    /// The PKCE methods (RFC 7636) that it knows.
    #[serde(default)]
    pub code_challenge_methods_supported: Vec<String>,
}

impl Metadata {
    /// Reads the issuer's document. Nothing secret is sent.
    ///
    /// # Errors
    ///
    /// If there is none, or it is another issuer's.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the request.
    pub async fn discover(transport: &Transport, issuer: &str) -> Result<Self, SourceError> {
        let issuer = issuer.trim_end_matches('/');
        for url in well_known(issuer) {
            let uri = url.parse().map_err(|error: http::uri::InvalidUri| {
                SourceError::malformed(format!("the issuer {issuer} is no URL")).with_source(error)
            })?;
            let answer = transport.send(TokenRequest::get(uri)).await;
            let answer = answer.map_err(|failure| failed(issuer, failure))?;
            let status = answer.status().as_u16();
            match status {
                200 if !answer.is_web_page() => {}
                408 | 425 | 429 | 500..=599 => {
                    let error = SourceError::transient(format!(
                        "{url} cannot say at present where tokens are asked for ({status})"
                    ));
                    return Err(match answer.retry_after() {
                        Some(delay) => error.retry_after(delay),
                        None => error,
                    });
                }
                _ => continue,
            }
            let metadata: Self = serde_json::from_slice(answer.expose_body()).map_err(|error| {
                SourceError::malformed(format!(
                    "{url} is no document of an issuer: check the issuer's URL"
                ))
                .with_source(error)
            })?;
            // Another issuer's document would send the secret there (section 4.3 of the first).
            if metadata.issuer.trim_end_matches('/') != issuer {
                return Err(SourceError::malformed(format!(
                    "{url} is the document of another issuer: check the issuer's URL"
                )));
            }
            return Ok(metadata);
        }
        Err(SourceError::malformed(format!(
            "the issuer {issuer} has no discovery document: check its URL, or tell the token \
             endpoint's own"
        )))
    }

    /// The token endpoint, if it is on the issuer's own origin or one of these.
    ///
    /// # Errors
    ///
    /// If it is elsewhere, or no URL: the secret would go there.
    pub fn token_endpoint_on(&self, origins: &[Origin]) -> Result<Uri, SourceError> {
        let issuer = &self.issuer;
        let origin = Origin::parse(&self.token_endpoint);
        let uri = self.token_endpoint.parse::<Uri>();
        let (Ok(origin), Ok(uri)) = (origin, uri) else {
            return Err(SourceError::malformed(format!(
                "the token endpoint in the document of {issuer} is no URL"
            )));
        };
        let own = Origin::parse(issuer).is_ok_and(|own| own == origin);
        if own || origins.contains(&origin) {
            return Ok(uri);
        }
        Err(SourceError::malformed(format!(
            "the document of {issuer} names a token endpoint on another origin, {origin}, and the secret \
             is not sent there"
        )))
    }
}

/// The places where an issuer's document may be: RFC 8414 puts the path after the well-known part.
fn well_known(issuer: &str) -> [String; 2] {
    let after_scheme = issuer.find("://").map_or(0, |at| at + 3);
    let at = issuer[after_scheme..].find('/');
    let (base, path) = issuer.split_at(at.map_or(issuer.len(), |at| after_scheme + at));
    [format!("{issuer}{OPENID}"), format!("{base}{OAUTH}{path}")]
}

pub(crate) fn failed(place: &str, failure: Failure) -> SourceError {
    match failure {
        Failure::Broken(error) => {
            SourceError::transient(format!("the exchange with {place} broke off"))
                .with_source(error)
        }
        Failure::TooLarge => SourceError::malformed(format!(
            "{place} answered with more than {} KiB: check the URL",
            Transport::ANSWER_CAP / 1024
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        };
        let elsewhere = Origin::parse("https://tokens.example").unwrap();
        let own = metadata("https://IDP.example:443/token");
        assert!(own.token_endpoint_on(&[]).is_ok());
        let other = metadata("https://tokens.example/token");
        let error = other.token_endpoint_on(&[]).unwrap_err().to_string();
        assert!(
            error.contains("another origin, https://tokens.example"),
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
}
