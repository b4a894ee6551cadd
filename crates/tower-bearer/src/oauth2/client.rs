//! The client that asks for tokens, and how it authenticates.

use std::{error, fmt, future::Future, pin::Pin, sync::Arc};

use super::{request::TokenRequest, secret::SecretText};
use crate::error::BoxError;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client, and how it authenticates itself to the token endpoint (RFC 6749, section 2.3).
#[derive(Clone)]
pub struct Client {
    pub(crate) id: String,
    proof: Proof,
}

#[derive(Clone)]
enum Proof {
    None,
    Post(ClientSecret),
    Basic(ClientSecret),
    Assertion(ClientSecret),
}

impl Client {
    /// A client without a secret: a program on a person's machine, for example.
    pub fn public(id: impl Into<String>) -> Self {
        Self::new(id, Proof::None)
    }

    /// A client that sends its secret in the form (`client_secret_post`).
    pub fn post(id: impl Into<String>, secret: impl Into<ClientSecret>) -> Self {
        Self::new(id, Proof::Post(secret.into()))
    }

    /// A client that sends its secret in the `Authorization` header (`client_secret_basic`). Every provider
    /// must support this (RFC 6749, section 2.3.1).
    pub fn basic(id: impl Into<String>, secret: impl Into<ClientSecret>) -> Self {
        Self::new(id, Proof::Basic(secret.into()))
    }

    /// A client that sends a signed assertion (RFC 7523, section 2.2). The function is called for each
    /// request.
    ///
    /// ```
    /// use tower_bearer::oauth2::Client;
    ///
    /// let client = Client::assertion("ci-bot", || async {
    ///     // Sign a JWT here, or read the one that your platform gives you.
    ///     Ok(std::fs::read_to_string("/var/run/secrets/tokens/idp")?.into())
    /// });
    /// # drop(client);
    /// ```
    pub fn assertion<F, Fut>(id: impl Into<String>, assertion: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<SecretText, BoxError>> + Send + 'static,
    {
        Self::new(id, Proof::Assertion(ClientSecret::from_fn(assertion)))
    }

    fn new(id: impl Into<String>, proof: Proof) -> Self {
        let id = id.into();
        Self { id, proof }
    }

    /// Adds the client and its proof to a request.
    pub(crate) async fn authenticate(
        &self,
        request: TokenRequest,
    ) -> Result<TokenRequest, Unreadable> {
        Ok(match &self.proof {
            Proof::None => request.parameter("client_id", &self.id),
            Proof::Post(secret) => request
                .parameter("client_id", &self.id)
                .secret_parameter("client_secret", &secret.current().await?),
            Proof::Basic(secret) => request.basic(&self.id, &secret.current().await?),
            Proof::Assertion(assertion) => request
                .parameter("client_id", &self.id)
                .parameter("client_assertion_type", JWT_BEARER)
                .secret_parameter("client_assertion", &assertion.current().await?),
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

type Reading = Pin<Box<dyn Future<Output = Result<SecretText, BoxError>> + Send>>;

/// A client's secret: a text, or a function that is called at each fetch.
#[derive(Clone)]
pub struct ClientSecret(Kind);

#[derive(Clone)]
enum Kind {
    Text(SecretText),
    Function(Arc<dyn Fn() -> Reading + Send + Sync>),
}

impl ClientSecret {
    /// A secret that a function reads at each fetch, from a file or a vault, for example.
    pub fn from_fn<F, Fut>(read: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<SecretText, BoxError>> + Send + 'static,
    {
        Self(Kind::Function(Arc::new(move || Box::pin(read()))))
    }

    async fn current(&self) -> Result<SecretText, Unreadable> {
        match &self.0 {
            Kind::Text(text) => Ok(text.clone()),
            Kind::Function(read) => read().await.map_err(Unreadable),
        }
    }
}

impl<T: Into<SecretText>> From<T> for ClientSecret {
    fn from(text: T) -> Self {
        Self(Kind::Text(text.into()))
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSecret").finish_non_exhaustive()
    }
}

/// The function returned no secret.
#[derive(Debug)]
pub(crate) struct Unreadable(BoxError);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client's secret cannot be read")
    }
}

impl error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&*self.0)
    }
}
