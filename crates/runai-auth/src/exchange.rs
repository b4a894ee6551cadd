//! The exchange with one control plane: at which endpoint, and what becomes of the answer.

use std::sync::{Mutex, OnceLock, PoisonError};

use http::{Uri, header};
use tower_bearer::{
    SourceError,
    oauth2::{Answer, AnswerError, Issued, Metadata, TokenRequest, Transport},
};

use crate::{
    client::HttpClient,
    control_plane::ControlPlane,
    credentials::Who,
    endpoint::{EndpointVersion, issuer_path},
    explain::Scene,
    grant::Grant,
};

/// The way to one control plane's token endpoint.
#[derive(Debug)]
pub(crate) struct Exchange {
    control_plane: ControlPlane,
    transport: OnceLock<Transport>,
    /// The form that issued a token last, or that answered as itself.
    known: Mutex<Option<Found>>,
}

/// An endpoint, and the form that it has.
#[derive(Clone, Debug)]
struct Found {
    form: EndpointVersion,
    uri: Uri,
}

/// What became of a request that carried a secret.
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
        }
    }

    pub(crate) fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// The caller's own transport, or the default client, which is made at the first request.
    pub(crate) fn transport(&self) -> Result<&Transport, SourceError> {
        if let Some(transport) = self.transport.get() {
            return Ok(transport);
        }
        let client = HttpClient::new(&self.control_plane)
            .map_err(|error| SourceError::malformed(error.to_string()).with_source(error))?;
        Ok(self.transport.get_or_init(|| Transport::new(client)))
    }

    /// Asks for a token, at the endpoint that is set, known or found.
    pub(crate) async fn issue(&self, grant: &Grant, who: &Who) -> Result<Issued, SourceError> {
        let scene = Scene {
            base: self.control_plane.base(),
            who,
        };
        let set = self.control_plane.token_endpoint.form();
        let first = match set {
            Some(form) => self.usual(form)?,
            None => match self.remembered() {
                Some(known) if grant.exists_at(known.form) => known,
                _ => self.usual(EndpointVersion::V1)?,
            },
        };
        if !grant.exists_at(first.form) {
            return Err(SourceError::malformed(format!(
                "{} cannot be exchanged at the token endpoint that was set for {}: only /api/v1/token \
                 takes it",
                who.name, scene.base
            )));
        }
        let (flaw, answer) = match self.send(grant, &first, &scene).await? {
            Outcome::Issued(issued) => return Ok(issued),
            Outcome::Absent(flaw, answer) => (flaw, answer),
        };
        self.remember(None);
        let mut tried = vec![first.uri.path().to_owned()];
        if set.is_none() {
            let others = EndpointVersion::ALL
                .into_iter()
                .filter(|form| *form != first.form);
            for form in others.filter(|form| grant.exists_at(*form)) {
                let usual = self.usual(form)?;
                tried.push(usual.uri.path().to_owned());
                let Some(found) = self.answers_as_itself(usual, &scene).await? else {
                    continue;
                };
                return match self.send(grant, &found, &scene).await? {
                    Outcome::Issued(issued) => Ok(issued),
                    Outcome::Absent(flaw, answer) => {
                        let path = [found.uri.path().to_owned()];
                        Err(scene.flaw(flaw, &answer, &path))
                    }
                };
            }
        }
        Err(scene.flaw(flaw, &answer, &tried))
    }

    /// The form of the endpoint that a grant will go to, found out without a secret and remembered. Where
    /// none answers as itself it is v1, which is asked first then.
    #[cfg(feature = "user-login")]
    pub(crate) async fn form(&self, who: &Who) -> Result<EndpointVersion, SourceError> {
        if let Some(form) = self.control_plane.token_endpoint.form() {
            return Ok(form);
        }
        let base = self.control_plane.base();
        let scene = Scene { base, who };
        for form in EndpointVersion::ALL {
            let usual = self.usual(form)?;
            if let Some(found) = self.answers_as_itself(usual, &scene).await? {
                self.remember(Some(found));
                return Ok(form);
            }
        }
        Ok(EndpointVersion::V1)
    }

    /// Where an endpoint of that form is, unless a document says otherwise.
    fn usual(&self, form: EndpointVersion) -> Result<Found, SourceError> {
        let path = form.path(&self.control_plane.realm_name());
        let uri = self.control_plane.url(&path).map_err(|error| {
            SourceError::malformed("the token request cannot be written").with_source(error)
        })?;
        Ok(Found { form, uri })
    }

    /// Sends the grant, which carries a secret.
    async fn send(
        &self,
        grant: &Grant,
        to: &Found,
        scene: &Scene<'_>,
    ) -> Result<Outcome, SourceError> {
        let request = grant.request(to.form, to.uri.clone());
        let answer = self.ask(request, scene).await?;
        match answer.token() {
            Ok(issued) => {
                self.remember(Some(to.clone()));
                Ok(Outcome::Issued(issued))
            }
            Err(flaw @ (AnswerError::Absent | AnswerError::WebPage)) => {
                Ok(Outcome::Absent(flaw, answer))
            }
            Err(flaw) => Err(scene.flaw(flaw, &answer, &[])),
        }
    }

    async fn ask(&self, request: TokenRequest, scene: &Scene<'_>) -> Result<Answer, SourceError> {
        let agent = self.control_plane.user_agent.clone();
        let request = request.header(header::USER_AGENT, agent);
        let sent = self.transport()?.send(request).await;
        sent.map_err(|failure| scene.failure(failure))
    }

    /// Whether an endpoint of that form is there, found out without a secret; with the place where it is.
    async fn answers_as_itself(
        &self,
        usual: Found,
        scene: &Scene<'_>,
    ) -> Result<Option<Found>, SourceError> {
        let request = match usual.form {
            EndpointVersion::V1 => TokenRequest::json(usual.uri.clone(), b"{}".to_vec()),
            EndpointVersion::V2 => TokenRequest::form(usual.uri.clone()),
            EndpointVersion::Keycloak => return self.keycloak().await,
        };
        let answer = self.ask(request, scene).await?;
        let is_json = !answer.is_web_page();
        let is_it = match (answer.status().as_u16(), usual.form) {
            (408 | 425 | 429 | 500..=599, _) => {
                return Err(scene.flaw(AnswerError::Unavailable, &answer, &[]));
            }
            (404 | 405 | 410, _) => false,
            (400..=499, EndpointVersion::V1) => is_json && answer.message().is_some(),
            (400..=499, _) => is_json && answer.error_code().is_some(),
            _ => false,
        };
        Ok(is_it.then_some(usual))
    }

    /// Keycloak's token endpoint, as its document names it: on the control plane's own origin.
    async fn keycloak(&self) -> Result<Option<Found>, SourceError> {
        let path = issuer_path(&self.control_plane.realm_name());
        let issuer = format!("{}{path}", self.control_plane.base());
        let document = Metadata::discover(self.transport()?, &issuer).await;
        let metadata = match document {
            Ok(metadata) => metadata,
            Err(error) if error.is_transient() => return Err(error),
            // There is no such document, or it is not this control plane's.
            Err(_) => return Ok(None),
        };
        let uri = metadata.token_endpoint_on(&[])?;
        let form = EndpointVersion::Keycloak;
        Ok(Some(Found { form, uri }))
    }

    /// The endpoint that issued a token last.
    pub(crate) fn known_endpoint(&self) -> Option<Uri> {
        self.remembered().map(|found| found.uri)
    }

    fn remembered(&self) -> Option<Found> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn remember(&self, found: Option<Found>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}
