//! A person logs in with a browser: an authorization code (RFC 6749, section 4.1) that comes to a loopback
//! redirect (RFC 8252, section 7.3) or is pasted, with PKCE (RFC 7636) where the token endpoint has a
//! place for the verifier.

mod error;
mod listener;
mod random;
mod redirect;

use std::{fmt, pin::Pin, time::Duration};

use http::Uri;
use tokio::time::{Sleep, sleep, timeout};
use tower_bearer::{
    SourceError,
    auth::Origin,
    oauth2::{Metadata, SecretText},
};

pub use self::error::{LoginError, LoginErrorKind};
use self::{listener::Listener, redirect::Redirect};
use crate::{
    control_plane::ControlPlane,
    credentials::Who,
    endpoint::{EndpointVersion, issuer_path},
    error::{Error, Kind},
    exchange::Exchange,
    grant::Grant,
};

/// A person's login with a browser (single sign-on, a second factor), from which a refresh token comes.
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
/// No browser is started here: print the URL, or open it.
///
/// PKCE is used where codes go to v2 or to Keycloak, unless Keycloak's document was read and does not list
/// `S256`. [`TokenEndpoint::V1`](crate::TokenEndpoint::V1) has no place for the verifier, so a login there
/// goes without. Where the token endpoint is to be found out, that is done before the login, without a
/// secret.
#[derive(Clone, Debug)]
#[must_use = "a login does nothing until it is started"]
pub struct BrowserLogin {
    control_plane: ControlPlane,
    client_id: String,
    scope: String,
    /// Where people log in, if it was told.
    endpoint: Option<String>,
    time_limit: Duration,
}

impl BrowserLogin {
    /// How long the browser may take: 2 min.
    pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(120);

    /// How long all requests of [`start`](Self::start), or those of the exchange of the code, may take.
    const EXCHANGE_LIMIT: Duration = Duration::from_secs(30);

    /// A login at this control plane.
    pub fn new(control_plane: &ControlPlane) -> Self {
        Self {
            control_plane: control_plane.clone(),
            client_id: "cli".into(),
            scope: "openid".into(),
            endpoint: None,
            time_limit: Self::DEFAULT_TIME_LIMIT,
        }
    }

    /// Names the client on whose behalf the person logs in. The refresh token is good for that client
    /// alone: name it to [`UserCredentials::client_id`](crate::UserCredentials::client_id) too.
    ///
    /// Defaults to `cli`, as the command line has it.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }

    /// Sets the scopes that are asked for, with spaces between them (RFC 6749, section 3.3):
    /// `openid offline_access`, say, for a refresh token that outlives the person's session.
    ///
    /// Defaults to `openid`.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = scope.into();
        self
    }

    /// Tells where people log in, on whatever origin (RFC 6749, section 3.1).
    ///
    /// Defaults to what the document of the control plane's realm says
    /// ([`ControlPlane::realm`]), which must be on the control plane's own origin.
    ///
    /// # Errors
    ///
    /// If it is no URL, has a fragment, or is reached over a network without TLS, unless that is the
    /// control plane's own origin.
    pub fn authorization_endpoint(mut self, url: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::new(Kind::Url, format!("the authorization endpoint {why}"));
        let origin = Origin::parse(url).map_err(|error| bad("is no URL").with_source(error))?;
        if url.contains('#') {
            return Err(bad("has a fragment, which must be left out"));
        }
        if !origin.is_safe() && origin != *self.control_plane.origin() {
            return Err(bad("is reached without TLS: use https"));
        }
        self.endpoint = Some(url.to_owned());
        Ok(self)
    }

    /// How long the browser may take to come back, from the start of the login.
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
    /// If an endpoint cannot be found or asked, where people log in is on another origin than the control
    /// plane's and was not told, or no port can be had.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and time.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops its requests and closes the port.
    pub async fn start(self) -> Result<PendingLogin, LoginError> {
        let who = Who {
            name: format!("the login of client `{}`", self.client_id),
            advice: "log in again; a code is good once and for a minute or so",
            once: true,
        };
        let exchange = Exchange::new(self.control_plane.clone());
        let base = self.control_plane.base();
        let found = timeout(Self::EXCHANGE_LIMIT, self.endpoints(&exchange, &who)).await;
        let (endpoint, with_pkce) = found.map_err(|_| {
            let message = format!("{base} did not say in time where people log in");
            LoginError::new(LoginErrorKind::Endpoint, message)
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
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        Ok(PendingLogin {
            url: format!("{endpoint}{joint}{}", query.finish()).into(),
            listener,
            deadline: Box::pin(sleep(self.time_limit)),
            time_limit: self.time_limit,
            state,
            code: CodeExchange {
                exchange,
                who,
                client_id: self.client_id,
                redirect_uri,
                verifier,
            },
        })
    }

    /// Where people log in, and whether the login goes with PKCE.
    async fn endpoints(
        &self,
        exchange: &Exchange,
        who: &Who,
    ) -> Result<(String, bool), LoginError> {
        let base = self.control_plane.base();
        let failed = |message: String| LoginError::new(LoginErrorKind::Endpoint, message);
        let (endpoint, knows_s256) = match &self.endpoint {
            Some(told) => (told.clone(), true),
            None => {
                let not_found = |error: SourceError| {
                    let message = format!(
                        "where people log in at {base} was not found: name the realm with \
                         ControlPlane::realm, or the place with BrowserLogin::authorization_endpoint"
                    );
                    failed(message).with_source(error)
                };
                let transport = exchange.transport().map_err(not_found)?;
                let path = issuer_path(&self.control_plane.realm_name());
                let issuer = format!("{base}{path}");
                let document = Metadata::discover(transport, &issuer).await;
                let document = document.map_err(not_found)?;
                let methods = &document.code_challenge_methods_supported;
                let knows_s256 = methods.iter().any(|method| method == "S256");
                (self.own(document)?, knows_s256)
            }
        };
        if !knows_s256 {
            return Ok((endpoint, false));
        }
        let form = exchange.form(who).await.map_err(|error| {
            failed(format!("where codes are exchanged at {base} was not found")).with_source(error)
        })?;
        Ok((endpoint, form != EndpointVersion::V1))
    }

    /// Where people log in by the document. Elsewhere than at the control plane, a person would be sent to
    /// a page that might ask for the password and is not the control plane's.
    fn own(&self, document: Metadata) -> Result<String, LoginError> {
        let base = self.control_plane.base();
        let bad = |why: String| {
            let message = format!("the document of {base} {why}");
            LoginError::new(LoginErrorKind::Endpoint, message)
        };
        let Some(endpoint) = document.authorization_endpoint else {
            return Err(bad("does not say where people log in".into()));
        };
        let origin = Origin::parse(&endpoint);
        let is_url = endpoint.parse::<Uri>().is_ok() && !endpoint.contains('#');
        match origin {
            Ok(origin) if is_url && origin == *self.control_plane.origin() => Ok(endpoint),
            Ok(origin) if is_url => Err(bad(format!(
                "has people log in on another origin, {origin}: if that is right, name it with \
                 BrowserLogin::authorization_endpoint"
            ))),
            _ => Err(bad("names a place to log in that is no URL".into())),
        }
    }
}

/// A login that waits for the browser: what [`BrowserLogin::start`] makes. Dropping it ends the login and
/// closes the port.
#[must_use = "the browser comes back to this"]
pub struct PendingLogin {
    url: SecretText,
    listener: Listener,
    deadline: Pin<Box<Sleep>>,
    time_limit: Duration,
    state: SecretText,
    code: CodeExchange,
}

impl PendingLogin {
    /// The URL to open in a browser. It is for the person who logs in alone: whoever knows it can end the
    /// login, or put in another person's.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.expose_secret()
    }

    /// Waits until the browser comes back, and exchanges the code for a refresh token.
    ///
    /// Requests to other paths, or with another state or host, are answered and do not end it.
    ///
    /// # Errors
    ///
    /// If the browser does not come back in time, it brings an error (RFC 6749, section 4.1.2.1), the code
    /// is not taken, or no refresh token comes.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the login and closes the port. A code that was on its way is lost: log in again.
    pub async fn finish(self) -> Result<SecretText, LoginError> {
        let redirect = self.listener.wait(self.state, self.deadline).await?;
        let Some(redirect) = redirect else {
            return Err(LoginError::new(
                LoginErrorKind::TimedOut,
                format!(
                    "nobody has logged in within {} s: start the login again",
                    self.time_limit.as_secs_f64()
                ),
            ));
        };
        self.code.redeem(redirect).await
    }

    /// The same with what a person pastes, where the browser is on another machine: the code, or the whole
    /// URL that the browser shows when it cannot reach this one. The time limit does not count here.
    ///
    /// In a URL the state is checked. A code alone has none, so only PKCE keeps another person's out:
    /// prefer the URL.
    ///
    /// # Errors
    ///
    /// If it is no code, the URL is that of another login or brings an error, the code is not taken, or no
    /// refresh token comes.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the login. A code that was on its way is lost: log in again.
    pub async fn finish_with_code(self, pasted: &str) -> Result<SecretText, LoginError> {
        let redirect = redirect::pasted(pasted, &self.state)?;
        // Nobody is waited for any more.
        drop(self.listener);
        self.code.redeem(redirect).await
    }
}

/// The state is in the URL, so it is not shown.
impl fmt::Debug for PendingLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingLogin")
            .field("redirect_uri", &self.code.redirect_uri)
            .field("client_id", &self.code.client_id)
            .finish_non_exhaustive()
    }
}

/// What is needed to exchange the code.
struct CodeExchange {
    exchange: Exchange,
    who: Who,
    client_id: String,
    redirect_uri: String,
    verifier: Option<SecretText>,
}

impl CodeExchange {
    async fn redeem(self, redirect: Redirect) -> Result<SecretText, LoginError> {
        let base = self.exchange.control_plane().base();
        let failed = |message: String| LoginError::new(LoginErrorKind::Exchange, message);
        let grant = Grant::Code {
            code: redirect.code(&base)?,
            client_id: self.client_id,
            redirect_uri: self.redirect_uri,
            verifier: self.verifier,
        };
        let issue = self.exchange.issue(&grant, &self.who);
        let issued = timeout(BrowserLogin::EXCHANGE_LIMIT, issue).await;
        let issued = issued
            .map_err(|_| failed(format!("{base} did not exchange the code in time")))?
            .map_err(|error| {
                failed("the code was not exchanged for tokens".into()).with_source(error)
            })?;
        issued.refresh_token.ok_or_else(|| {
            let name = &self.who.name;
            LoginError::new(
                LoginErrorKind::NoRefreshToken,
                format!(
                    "{base} gave {name} no refresh token: the client may need the scope offline_access \
                     (BrowserLogin::scope), or a setting that the control plane's administrator makes"
                ),
            )
        })
    }
}
