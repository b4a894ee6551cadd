//! A person logs in with a browser. The authorization code (RFC 6749, section 4.1) comes to a loopback
//! redirect (RFC 8252, section 7.3) or is pasted. PKCE (RFC 7636) is used if the token endpoint accepts the
//! verifier.

use std::{fmt, pin::Pin, time::Duration};

use http::Uri;
use tokio::time::{Sleep, sleep, timeout};
use tower_bearer::{
    ForeignText, SourceError,
    auth::Origin,
    oauth2::{Metadata, SecretText},
};

use super::{
    error::{LoginError, LoginErrorKind},
    listener::Listener,
    random,
    redirect::{self, Redirect},
};
use crate::{
    control_plane::ControlPlane,
    error::{SetupError, SetupErrorKind},
    exchange::{EndpointVersion, Exchange, Grant, Subject, issuer_path},
};

const TRY_AGAIN: &str = "start the login again";

/// A person's login with a browser (single sign-on, a second factor), which yields a refresh token.
///
/// ```no_run
/// use runai_auth::{BrowserLogin, ControlPlane, Credentials};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), runai_auth::BoxError> {
/// let control_plane = ControlPlane::new("acme.run.ai")?;
/// let login = BrowserLogin::new(&control_plane).start().await?;
/// println!("open {}", login.url());
/// let refresh_token = login.finish().await?;
/// let auth = control_plane.authenticate(Credentials::refresh_token(refresh_token));
/// # drop(auth);
/// # Ok(())
/// # }
/// ```
///
/// It does not start a browser: print the URL, or open it.
///
/// The login uses PKCE if v2 or Keycloak redeems the code, unless Keycloak's discovery document was read and
/// does not list `S256`. [`TokenEndpoint::V1`](crate::TokenEndpoint::V1) does not accept a verifier, so a
/// login there is without PKCE. If the version of the token endpoint is to be detected, that is done before
/// the login, without a secret.
#[derive(Clone, Debug)]
#[must_use = "a login does nothing until it is started"]
pub struct BrowserLogin {
    control_plane: ControlPlane,
    client_id: String,
    scope: String,
    /// The authorization endpoint, if it is configured.
    endpoint: Option<String>,
    time_limit: Duration,
}

impl BrowserLogin {
    /// How long the browser may take: 2 min.
    pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(120);

    /// How long all requests of [`start`](Self::start), or those that redeem the code, may take.
    const EXCHANGE_LIMIT: Duration = Duration::from_secs(30);

    /// Prepares a login at this control plane.
    pub fn new(control_plane: &ControlPlane) -> Self {
        Self {
            control_plane: control_plane.clone(),
            client_id: "cli".into(),
            scope: "openid".into(),
            endpoint: None,
            time_limit: Self::DEFAULT_TIME_LIMIT,
        }
    }

    /// Sets the client on whose behalf the person logs in. The refresh token works only for that client: set
    /// it with [`UserCredentials::client_id`](crate::UserCredentials::client_id) too.
    ///
    /// Defaults to `cli`, like the command line.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }

    /// Sets the scopes to ask for, separated by spaces (RFC 6749, section 3.3). For example
    /// `openid offline_access` asks for a refresh token that outlives the person's session.
    ///
    /// Defaults to `openid`.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = scope.into();
        self
    }

    /// Sets where people log in: the authorization endpoint (RFC 6749, section 3.1), on any origin.
    ///
    /// Defaults to the one that the discovery document of the control plane's realm names
    /// ([`ControlPlane::realm`]), which must be on the control plane's own origin.
    ///
    /// # Errors
    ///
    /// If the URL is invalid, has a fragment, or leads over a network without TLS, unless that is the
    /// control plane's own origin.
    pub fn authorization_endpoint(mut self, url: &str) -> Result<Self, SetupError> {
        let bad =
            |kind, why: &str| SetupError::new(kind, format!("the authorization endpoint {why}"));
        let origin = Origin::parse(url)
            .map_err(|error| bad(SetupErrorKind::Url, "is not a URL").with_source(error))?;
        if url.contains('#') {
            return Err(bad(SetupErrorKind::Url, "has a fragment").with_advice("remove it"));
        }
        if !origin.is_safe() && origin != *self.control_plane.origin() {
            let error = bad(SetupErrorKind::InsecureUrl, "is reached without TLS");
            return Err(error.with_advice("use https"));
        }
        self.endpoint = Some(url.to_owned());
        Ok(self)
    }

    /// Sets how long the browser may take to come back, from the start of the login.
    ///
    /// Defaults to [`DEFAULT_TIME_LIMIT`](Self::DEFAULT_TIME_LIMIT).
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Finds the endpoints, and listens on a free port of 127.0.0.1 for the browser.
    ///
    /// # Errors
    ///
    /// If an endpoint is not found or cannot be reached, the discovered authorization endpoint is on another
    /// origin than the control plane's, or no port is free.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops its requests and closes the port.
    pub async fn start(self) -> Result<PendingLogin, LoginError> {
        let subject = Subject {
            name: format!("the login of client {}", ForeignText::new(&self.client_id)),
            advice: "log in again; a code works once, for about a minute",
            single_use: true,
        };
        let exchange = Exchange::new(self.control_plane.clone());
        let base = self.control_plane.base();
        let endpoints = self.endpoints(&exchange, &subject);
        let endpoints = timeout(Self::EXCHANGE_LIMIT, endpoints).await;
        let (endpoint, with_pkce) = endpoints.map_err(|_| {
            let message = format!("{base} did not name its authorization endpoint in time");
            LoginError::new(LoginErrorKind::Endpoint, message).with_advice(TRY_AGAIN)
        })??;
        let listener = Listener::bind().await?;
        let redirect_uri = listener.redirect_uri();
        let state = random::secret()?;
        let verifier = match with_pkce {
            true => Some(random::secret()?),
            false => None,
        };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", &redirect_uri)
            .append_pair("scope", &self.scope)
            .append_pair("state", state.expose_secret());
        if let Some(verifier) = &verifier {
            query
                .append_pair("code_challenge", &random::challenge(verifier))
                .append_pair("code_challenge_method", "S256");
        }
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        Ok(PendingLogin {
            url: format!("{endpoint}{separator}{}", query.finish()).into(),
            listener,
            deadline: Box::pin(sleep(self.time_limit)),
            time_limit: self.time_limit,
            state,
            code: CodeExchange {
                exchange,
                subject,
                client_id: self.client_id,
                redirect_uri,
                verifier,
            },
        })
    }

    /// Returns the authorization endpoint, and whether to use PKCE.
    async fn endpoints(
        &self,
        exchange: &Exchange,
        subject: &Subject,
    ) -> Result<(String, bool), LoginError> {
        let base = self.control_plane.base();
        let (endpoint, knows_s256) = match &self.endpoint {
            Some(configured) => (configured.clone(), true),
            None => {
                let not_found = |error: SourceError| {
                    let message = format!("the authorization endpoint of {base} was not found");
                    let is_transient = error.is_transient();
                    let error = LoginError::because(LoginErrorKind::Endpoint, &message, error);
                    match is_transient {
                        true => error,
                        false => error.with_advice(
                            "set the realm with ControlPlane::realm, or the endpoint with \
                             BrowserLogin::authorization_endpoint",
                        ),
                    }
                };
                let transport = exchange.transport().map_err(not_found)?;
                let path = issuer_path(&self.control_plane.realm_name());
                let issuer = format!("{base}{path}");
                let document = Metadata::discover(&transport, &issuer).await;
                let document = document.map_err(not_found)?;
                let methods = &document.code_challenge_methods_supported;
                let knows_s256 = methods.iter().any(|method| method == "S256");
                (self.own(document)?, knows_s256)
            }
        };
        if !knows_s256 {
            return Ok((endpoint, false));
        }
        let version = exchange.version(subject).await.map_err(|error| {
            let message = format!("the token endpoint of {base} was not found");
            LoginError::because(LoginErrorKind::Endpoint, &message, error)
        })?;
        Ok((endpoint, version != EndpointVersion::V1))
    }

    /// Returns the document's authorization endpoint. It must be on the control plane's origin: elsewhere a
    /// page that is not the control plane's might ask the person for the password.
    fn own(&self, document: Metadata) -> Result<String, LoginError> {
        let base = self.control_plane.base();
        let bad = |why: String| {
            let message = format!("the discovery document of {base} {why}");
            LoginError::new(LoginErrorKind::Endpoint, message)
                .with_advice("set it with BrowserLogin::authorization_endpoint")
        };
        let Some(endpoint) = document.authorization_endpoint else {
            return Err(bad("names no authorization endpoint".into()));
        };
        let origin = Origin::parse(&endpoint);
        let is_url = endpoint.parse::<Uri>().is_ok() && !endpoint.contains('#');
        match origin {
            Ok(origin) if is_url && origin == *self.control_plane.origin() => Ok(endpoint),
            Ok(origin) if is_url => {
                let origin = ForeignText::new(&origin.to_string());
                let error = bad(format!(
                    "names an authorization endpoint on another origin, {origin}"
                ));
                Err(error.with_advice(
                    "if that is right, set it with BrowserLogin::authorization_endpoint",
                ))
            }
            _ => Err(bad(
                "names an authorization endpoint that is not a URL".into()
            )),
        }
    }
}

/// A login that waits for the browser. [`BrowserLogin::start`] makes it. Dropping it ends the login and closes
/// the port.
#[must_use = "the browser comes back to it"]
pub struct PendingLogin {
    url: SecretText,
    listener: Listener,
    deadline: Pin<Box<Sleep>>,
    time_limit: Duration,
    state: SecretText,
    code: CodeExchange,
}

impl PendingLogin {
    /// Returns the URL to open in a browser. Show it only to the person who logs in: anyone who knows it can
    /// end the login, or complete it as another person.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.expose_secret()
    }

    /// Waits until the browser comes back, and redeems the code for a refresh token.
    ///
    /// Requests to other paths, or with another state or host, are answered and do not end the login.
    ///
    /// # Errors
    ///
    /// If the browser does not come back in time, it brings an error (RFC 6749, section 4.1.2.1), the code
    /// is not accepted, or no refresh token comes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the login and closes the port. A code that was already sent is lost: log in
    /// again.
    pub async fn finish(self) -> Result<SecretText, LoginError> {
        let redirect = self.listener.wait(self.state, self.deadline).await?;
        let Some(redirect) = redirect else {
            let seconds = self.time_limit.as_secs_f64();
            let message = format!("nobody logged in within {seconds} s");
            return Err(LoginError::new(LoginErrorKind::TimedOut, message).with_advice(TRY_AGAIN));
        };
        self.code.redeem(redirect).await
    }

    /// Completes the login with what a person pastes, for a browser on another machine: the code, or the
    /// whole URL that the browser shows when it cannot reach this machine. There is no time limit.
    ///
    /// The state in a URL is checked. A code alone has no state, so only PKCE keeps out another person's
    /// code: prefer the URL.
    ///
    /// # Errors
    ///
    /// If the text is not a code, the URL belongs to another login or brings an error, the code is not
    /// accepted, or no refresh token comes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the login. A code that was already sent is lost: log in again.
    pub async fn finish_with_code(self, pasted: &str) -> Result<SecretText, LoginError> {
        let redirect = redirect::pasted(pasted, &self.state)?;
        drop(self.listener);
        self.code.redeem(redirect).await
    }
}

/// Hides the URL, because it holds the state.
impl fmt::Debug for PendingLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingLogin")
            .field("redirect_uri", &self.code.redirect_uri)
            .field("client_id", &self.code.client_id)
            .finish_non_exhaustive()
    }
}

/// Redeems the code of one login.
struct CodeExchange {
    exchange: Exchange,
    subject: Subject,
    client_id: String,
    redirect_uri: String,
    verifier: Option<SecretText>,
}

impl CodeExchange {
    async fn redeem(self, redirect: Redirect) -> Result<SecretText, LoginError> {
        let base = self.exchange.control_plane().base();
        let grant = Grant::Code {
            code: redirect.code(&base)?,
            client_id: self.client_id,
            redirect_uri: self.redirect_uri,
            verifier: self.verifier,
        };
        let issue = self.exchange.issue(&grant, &self.subject);
        let issued = timeout(BrowserLogin::EXCHANGE_LIMIT, issue).await;
        let issued = issued
            .map_err(|_| {
                let message = format!("{base} did not redeem the code in time");
                LoginError::new(LoginErrorKind::Exchange, message).with_advice(TRY_AGAIN)
            })?
            .map_err(|error| {
                let message = "the code was not redeemed for tokens";
                LoginError::because(LoginErrorKind::Exchange, message, error)
            })?;
        issued.refresh_token.ok_or_else(|| {
            let name = &self.subject.name;
            let message = format!("{base} gave {name} no refresh token");
            LoginError::new(LoginErrorKind::NoRefreshToken, message).with_advice(
                "ask for the scope offline_access with BrowserLogin::scope, or ask the control plane's \
                 administrator to allow it",
            )
        })
    }
}
