//! The exchange with one control plane: which endpoint to ask, and how to read its answer.

use std::sync::{Mutex, OnceLock, PoisonError};

use http::{Uri, header};
use tower_bearer::{
    ForeignText, SourceError, Token,
    oauth2::{Answer, AnswerError, Issued, Metadata, SecretText, TokenRequest, Transport},
};

use super::{
    endpoint::{EndpointVersion, issuer_path},
    explain::{Parties, Subject, unusable},
    grant::Grant,
    secrets::KnownSecrets,
};
use crate::{
    control_plane::ControlPlane,
    network::{HttpClient, transport},
};

/// The exchange with one control plane's token endpoint.
#[derive(Debug)]
pub(crate) struct Exchange {
    control_plane: ControlPlane,
    transport: OnceLock<Transport>,
    /// The endpoint that issued the last token, or that a probe detected.
    known: Mutex<Option<Endpoint>>,
    secrets: KnownSecrets,
}

/// A token endpoint and its version.
#[derive(Clone, Debug)]
struct Endpoint {
    version: EndpointVersion,
    uri: Uri,
}

/// The result of a request that carried a secret.
enum Outcome {
    Issued(Issued),
    /// There is no such endpoint.
    Absent(AnswerError, Answer),
}

impl Exchange {
    pub(crate) fn new(control_plane: ControlPlane) -> Self {
        let transport = OnceLock::new();
        if let Some(own) = &control_plane.transport {
            transport.get_or_init(|| own.clone());
        }
        Self {
            control_plane,
            transport,
            known: Mutex::default(),
            secrets: KnownSecrets::default(),
        }
    }

    pub(crate) fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// Returns the caller's own transport, or the default client, which the first request makes.
    fn client(&self) -> Result<&Transport, SourceError> {
        if let Some(transport) = self.transport.get() {
            return Ok(transport);
        }
        let client = HttpClient::new(&self.control_plane.network).map_err(unusable)?;
        Ok(self.transport.get_or_init(|| transport(client)))
    }

    /// Returns the transport for requests whose answers must repeat no secret that is known.
    pub(crate) fn transport(&self) -> Result<Transport, SourceError> {
        Ok(self.client()?.without_secrets(self.known_secrets()))
    }

    /// Takes secrets that are about to be sent, so that no text repeats them.
    pub(crate) fn sending(&self, secrets: Vec<SecretText>) {
        self.secrets.sending(secrets);
    }

    /// Takes secrets that the credentials hold, so that no text repeats them.
    pub(crate) fn holding(&self, secrets: Vec<SecretText>) {
        self.secrets.holding(secrets);
    }

    /// Takes the token that a fetch returned, so that no text repeats it.
    pub(crate) fn returned(&self, token: &Token) {
        self.secrets.returned(token.expose_secret());
    }

    /// Takes the tokens of an answer, so that no text repeats them.
    pub(crate) fn issued(&self, issued: &Issued) {
        self.secrets.issued(issued);
    }

    /// Returns the secrets that were sent or received last.
    pub(crate) fn known_secrets(&self) -> Vec<SecretText> {
        self.secrets.all()
    }

    /// Makes a text safe to show that may repeat one of them.
    pub(crate) fn foreign_text(&self, text: &str) -> ForeignText {
        let secrets = self.known_secrets();
        ForeignText::without_secrets(text, secrets.iter().map(SecretText::expose_secret))
    }

    /// Redeems a grant for a token, at the endpoint that is configured, known or detected.
    pub(crate) async fn issue(
        &self,
        grant: &Grant,
        subject: &Subject,
    ) -> Result<Issued, SourceError> {
        let parties = Parties {
            base: self.control_plane.base(),
            subject,
        };
        self.sending(grant.secrets());
        let configured = self.control_plane.token_endpoint.version();
        let first = match configured {
            Some(version) => self.usual(version)?,
            None => match self.known() {
                Some(known) if grant.exists_at(known.version) => known,
                _ => self.usual(EndpointVersion::V1)?,
            },
        };
        if !grant.exists_at(first.version) {
            return Err(SourceError::malformed(format!(
                "{} cannot be redeemed at the token endpoint that is configured for {}",
                subject.name, parties.base
            ))
            .with_advice("use /api/v1/token, the only one that accepts it"));
        }
        let (error, answer) = match self.send(grant, &first, &parties).await? {
            Outcome::Issued(issued) => return Ok(issued),
            Outcome::Absent(error, answer) => (error, answer),
        };
        self.remember(None);
        let mut tried = vec![first.uri.path().to_owned()];
        if configured.is_none() {
            let others = EndpointVersion::ALL
                .into_iter()
                .filter(|version| *version != first.version);
            for version in others.filter(|version| grant.exists_at(*version)) {
                let usual = self.usual(version)?;
                tried.push(usual.uri.path().to_owned());
                let Some(detected) = self.probe(usual, &parties).await? else {
                    continue;
                };
                return match self.send(grant, &detected, &parties).await? {
                    Outcome::Issued(issued) => Ok(issued),
                    Outcome::Absent(error, answer) => {
                        let path = [detected.uri.path().to_owned()];
                        Err(parties.no_token(error, &answer, &path))
                    }
                };
            }
        }
        Err(parties.no_token(error, &answer, &tried))
    }

    /// Detects the version of the endpoint that a grant will go to, without sending a secret, and
    /// remembers it. If no probe succeeds, returns v1, which is also the first to be asked then.
    #[cfg(feature = "user-login")]
    pub(crate) async fn version(&self, subject: &Subject) -> Result<EndpointVersion, SourceError> {
        if let Some(version) = self.control_plane.token_endpoint.version() {
            return Ok(version);
        }
        let base = self.control_plane.base();
        let parties = Parties { base, subject };
        for version in EndpointVersion::ALL {
            let usual = self.usual(version)?;
            if let Some(detected) = self.probe(usual, &parties).await? {
                self.remember(Some(detected));
                return Ok(version);
            }
        }
        Ok(EndpointVersion::V1)
    }

    /// Returns the usual place of an endpoint of this version.
    fn usual(&self, version: EndpointVersion) -> Result<Endpoint, SourceError> {
        let path = version.path(&self.control_plane.realm_name());
        let uri = self.control_plane.url(&path).map_err(|error| {
            SourceError::malformed("the token request cannot be written").with_source(error)
        })?;
        Ok(Endpoint { version, uri })
    }

    /// Sends the grant, which carries a secret.
    async fn send(
        &self,
        grant: &Grant,
        to: &Endpoint,
        parties: &Parties<'_>,
    ) -> Result<Outcome, SourceError> {
        let request = grant.request(to.version, to.uri.clone());
        let answer = self.ask(request, parties).await?;
        match answer.token() {
            Ok(issued) => {
                self.issued(&issued);
                self.remember(Some(to.clone()));
                Ok(Outcome::Issued(issued))
            }
            Err(error @ (AnswerError::Absent | AnswerError::WebPage)) => {
                Ok(Outcome::Absent(error, answer))
            }
            Err(error) => Err(parties.no_token(error, &answer, &[])),
        }
    }

    async fn ask(
        &self,
        request: TokenRequest,
        parties: &Parties<'_>,
    ) -> Result<Answer, SourceError> {
        let agent = self.control_plane.user_agent.clone();
        let request = request.header(header::USER_AGENT, agent);
        let sent = self.transport()?.send(request).await;
        sent.map_err(|error| parties.no_answer(error))
    }

    /// Probes an endpoint without sending a secret. Returns it if it answers like a token endpoint of its
    /// version, with its actual place.
    async fn probe(
        &self,
        usual: Endpoint,
        parties: &Parties<'_>,
    ) -> Result<Option<Endpoint>, SourceError> {
        let request = match usual.version {
            EndpointVersion::V1 => TokenRequest::json(usual.uri.clone(), b"{}".to_vec()),
            EndpointVersion::V2 => TokenRequest::form(usual.uri.clone()),
            EndpointVersion::Keycloak => return self.probe_keycloak().await,
        };
        let answer = self.ask(request, parties).await?;
        let is_json = !answer.is_web_page();
        let is_it = match (answer.status().as_u16(), usual.version) {
            (408 | 425 | 429 | 500..=599, _) => {
                return Err(parties.no_token(AnswerError::Unavailable, &answer, &[]));
            }
            (404 | 405 | 410, _) => false,
            (400..=499, EndpointVersion::V1) => is_json && answer.message().is_some(),
            (400..=499, _) => is_json && answer.error_code().is_some(),
            _ => false,
        };
        Ok(is_it.then_some(usual))
    }

    /// Looks up Keycloak's token endpoint in its discovery document. It must be on the control plane's own
    /// origin.
    async fn probe_keycloak(&self) -> Result<Option<Endpoint>, SourceError> {
        let path = issuer_path(&self.control_plane.realm_name());
        let issuer = format!("{}{path}", self.control_plane.base());
        let document = Metadata::discover(&self.transport()?, &issuer).await;
        let metadata = match document {
            Ok(metadata) => metadata,
            Err(error) if error.is_transient() => return Err(error),
            // There is no such document, or it is not this control plane's.
            Err(_) => return Ok(None),
        };
        let uri = metadata.token_endpoint_on(&[])?;
        let version = EndpointVersion::Keycloak;
        Ok(Some(Endpoint { version, uri }))
    }

    /// Returns the endpoint that issued the last token.
    pub(crate) fn known_endpoint(&self) -> Option<Uri> {
        self.known().map(|endpoint| endpoint.uri)
    }

    fn known(&self) -> Option<Endpoint> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn remember(&self, endpoint: Option<Endpoint>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = endpoint;
    }
}
