//! Tokens from an OAuth 2.0 provider.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::Full;
use tower_service::Service;

use super::{
    answer::{Answer, AnswerError, Issued},
    client::Client,
    discovery::{self, Endpoint},
    refresh::RefreshTokens,
    request::TokenRequest,
    secret::SecretText,
    transport::Transport,
    url::bare_url,
};
use crate::{
    error::{BoxError, SourceError},
    foreign_text::ForeignText,
    source::{FetchContext, TokenSource},
    token::Token,
};

/// A source of tokens from an OAuth 2.0 provider, over an HTTP service that must not follow redirects.
///
/// See the [module](super) for an example.
#[derive(Clone, Debug)]
pub struct OAuth2Source {
    exchange: Arc<Exchange>,
    grant: Grant,
}

#[derive(Clone, Debug)]
enum Grant {
    ClientCredentials,
    RefreshToken(RefreshTokens),
}

/// All that an exchange needs but the refresh token that it redeems.
#[derive(Clone, Debug)]
struct Exchange {
    transport: Transport,
    endpoint: Arc<Endpoint>,
    client: Client,
    /// Further parameters, in order.
    parameters: Vec<(String, String)>,
    /// The tokens that were issued last, which a later answer may repeat.
    issued: Arc<Mutex<Vec<SecretText>>>,
}

impl OAuth2Source {
    /// Tokens for the client itself (RFC 6749, section 4.4), for programs that act on their own behalf.
    pub fn client_credentials<S, B>(http: S, endpoint: Endpoint, client: Client) -> Self
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        Self::new(
            Transport::new(http),
            endpoint,
            client,
            Grant::ClientCredentials,
        )
    }

    /// Tokens for a person who has logged in (RFC 6749, section 6), with the refresh token of that login.
    pub fn refresh_token<S, B>(
        http: S,
        endpoint: Endpoint,
        client: Client,
        token: impl Into<RefreshTokens>,
    ) -> Self
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let grant = Grant::RefreshToken(token.into());
        Self::new(Transport::new(http), endpoint, client, grant)
    }

    fn new(transport: Transport, endpoint: Endpoint, client: Client, grant: Grant) -> Self {
        Self {
            exchange: Arc::new(Exchange {
                transport,
                endpoint: Arc::new(endpoint),
                client,
                parameters: Vec::new(),
                issued: Arc::default(),
            }),
            grant,
        }
    }

    /// Tokens for the client itself, over a transport that is there already.
    #[cfg(test)]
    pub(super) fn over(transport: Transport, endpoint: Endpoint, client: Client) -> Self {
        Self::new(transport, endpoint, client, Grant::ClientCredentials)
    }

    /// Asks for these scopes, separated by spaces (RFC 6749, section 3.3).
    ///
    /// Defaults to none: the provider decides.
    #[must_use]
    pub fn scope(self, scope: &str) -> Self {
        self.parameter("scope", scope)
    }

    /// Asks for a token for this audience, a parameter that some providers have.
    ///
    /// Defaults to none.
    #[must_use]
    pub fn audience(self, audience: &str) -> Self {
        self.parameter("audience", audience)
    }

    /// Asks for a token for this resource (RFC 8707). Call it once for each.
    ///
    /// Defaults to none.
    #[must_use]
    pub fn resource(self, resource: &str) -> Self {
        self.parameter("resource", resource)
    }

    /// Adds a parameter that the provider defines. It may show in the server's logs, so do not put a secret
    /// into it.
    ///
    /// Defaults to none.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        let parameter = (name.to_owned(), value.to_owned());
        Arc::make_mut(&mut self.exchange).parameters.push(parameter);
        self
    }
}

impl TokenSource for OAuth2Source {
    async fn fetch(&self, cx: &FetchContext) -> Result<Token, SourceError> {
        match &self.grant {
            Grant::ClientCredentials => Ok(self.exchange.send(None).await?.token),
            Grant::RefreshToken(tokens) => {
                let exchange = self.exchange.clone();
                let send = move |token: SecretText| {
                    let exchange = exchange.clone();
                    async move { exchange.send(Some(token)).await }
                };
                tokens.exchange(cx.time_left(), send).await
            }
        }
    }

    fn epoch(&self) -> u64 {
        match &self.grant {
            Grant::ClientCredentials => 0,
            Grant::RefreshToken(tokens) => tokens.epoch(),
        }
    }

    fn describe(&self) -> Cow<'_, str> {
        Cow::Owned(self.exchange.name())
    }
}

impl Exchange {
    fn name(&self) -> String {
        let client = ForeignText::new(&self.client.id);
        format!("{} (client {client})", self.endpoint.name())
    }

    async fn send(&self, refresh_token: Option<SecretText>) -> Result<Issued, SourceError> {
        // The request comes first, so that no answer of the discovery repeats its secrets.
        let request = self.request(refresh_token).await?;
        let transport = self.knowing(&request.secrets);
        let uri = self.endpoint.resolve(&transport).await?;
        let place = bare_url(&uri.to_string());
        let answer = transport.send(request.to(uri)).await;
        let answer = answer.map_err(|error| discovery::failed(&place, error))?;
        let issued = answer
            .token()
            .map_err(|error| self.explain(error, &answer, &place))?;
        let token = SecretText::from(issued.token.expose_secret());
        let others = issued.refresh_token.iter().chain(&issued.id_token);
        *self.issued() = others.cloned().chain([token]).collect();
        Ok(issued)
    }

    fn issued(&self) -> MutexGuard<'_, Vec<SecretText>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The transport, whose answers repeat none of these secrets and none that was issued last.
    fn knowing(&self, secrets: &[SecretText]) -> Transport {
        let issued = self.issued().clone();
        let all = secrets.iter().cloned().chain(issued);
        self.transport.without_secrets(all)
    }

    async fn request(
        &self,
        refresh_token: Option<SecretText>,
    ) -> Result<TokenRequest, SourceError> {
        // Its endpoint is discovered later.
        let mut request = TokenRequest::form(Uri::default());
        request = match refresh_token {
            None => request.parameter("grant_type", "client_credentials"),
            Some(token) => request
                .parameter("grant_type", "refresh_token")
                .secret_parameter("refresh_token", &token),
        };
        for (name, value) in &self.parameters {
            request = request.parameter(name, value);
        }
        self.client.authenticate(request).await.map_err(|error| {
            let client = ForeignText::new(&self.client.id);
            SourceError::no_credentials(format!("there is no secret for client {client}"))
                .with_advice("check the place that the secret is read from")
                .with_source(error)
        })
    }

    fn explain(&self, error: AnswerError, answer: &Answer, place: &str) -> SourceError {
        let client = ForeignText::new(&self.client.id);
        let status = answer.status().as_u16();
        let code = answer.error_code();
        let said = answer.message().filter(|said| code.as_ref() != Some(said));
        let mut came_back = status.to_string();
        for text in code.iter().chain(&said) {
            came_back = format!("{came_back}, {text}");
        }
        let gave = |what: &str| format!("{place} gave client {client} {what}");
        let (message, advice) = match &error {
            AnswerError::Refused => (
                format!("{place} refused client {client} ({came_back})"),
                "check the client's id and secret, its grants and scopes",
            ),
            AnswerError::ErrorMember(name, _) => (
                format!("{place} answered client {client} with the error {name}"),
                "check the client's id and secret, its grants and scopes",
            ),
            AnswerError::Unavailable => (
                format!("{place} cannot give a token to client {client} at present ({came_back})"),
                "wait until it is up again",
            ),
            AnswerError::Redirect(location) => (
                format!(
                    "{place} redirects token requests to {location} ({status}), which is not followed, \
                     because the secret would go along"
                ),
                "if that is the token endpoint, configure it",
            ),
            AnswerError::Absent => {
                self.endpoint.forget();
                (
                    format!("there is no token endpoint at {place} ({status})"),
                    "check its URL",
                )
            }
            AnswerError::Status => (
                format!(
                    "{place} answered client {client} with the status {status}, which HTTP does not have"
                ),
                "check the URL",
            ),
            AnswerError::WebPage => (
                format!("{place} answered with a web page ({status})"),
                "check the URL",
            ),
            AnswerError::NotJson => (gave("an answer that is not a JSON object"), "check the URL"),
            AnswerError::NoToken => (gave("an answer without an access token"), "check the URL"),
            AnswerError::TokenType => (
                gave("a token that is not a bearer token"),
                "configure the client for bearer tokens",
            ),
            AnswerError::Lifetime => (
                gave("a token whose lifetime is not a positive number of seconds"),
                "mend the provider's configuration",
            ),
            AnswerError::BadToken(_) => (
                gave("a token that cannot stand in a header"),
                "mend the provider's configuration",
            ),
        };
        // A page comes from a middlebox, so it does not invalidate a refresh token.
        let error = match error {
            AnswerError::Refused if code.is_none() => SourceError::malformed(message),
            error => error.into_error(answer, message),
        };
        let error = match answer.refuses_grant() {
            true => error,
            false => error.about_the_client(),
        };
        error.with_advice(advice)
    }
}
