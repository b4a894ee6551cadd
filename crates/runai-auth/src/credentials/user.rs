//! A person's login: a password, or a refresh token.

use std::sync::Arc;
#[cfg(feature = "user-login")]
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

#[cfg(feature = "user-login")]
use tower_bearer::SourceError;
use tower_bearer::{
    FetchContext, ForeignText,
    oauth2::{RefreshTokens, SecretText},
};

use super::credential::{Credential, Credentials, Fetching};
#[cfg(feature = "user-login")]
use super::unreadable::unreadable;
use crate::exchange::{Exchange, Grant, Subject};
#[cfg(feature = "user-login")]
use crate::secret::Secret;

/// The default client, on whose behalf a person logs in: the Run:ai command line's.
const CLIENT_ID: &str = "cli";

/// A person's login. [`Credentials::refresh_token`] makes it.
#[derive(Clone, Debug)]
pub struct UserCredentials {
    proof: Proof,
    client_id: String,
}

#[derive(Clone, Debug)]
enum Proof {
    #[cfg(feature = "user-login")]
    Password {
        username: String,
        password: Secret,
        rejected: Arc<RejectedPasswords>,
    },
    RefreshToken(RefreshTokens),
}

/// The last password that each control plane rejected, with the error. It is not sent there again, because
/// accounts are locked after a few wrong attempts.
#[cfg(feature = "user-login")]
#[derive(Debug, Default)]
struct RejectedPasswords(Mutex<BTreeMap<String, (SecretText, SourceError)>>);

#[cfg(feature = "user-login")]
impl RejectedPasswords {
    /// Returns the error with which a control plane rejected this very password.
    fn error(&self, base: &str, password: &SecretText) -> Option<SourceError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (rejected, error) = all.get(base)?;
        (rejected == password).then(|| error.clone())
    }

    fn remember(&self, base: String, password: SecretText, error: SourceError) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(base, (password, error));
    }
}

impl Credentials {
    /// Takes a person's email and password.
    ///
    /// Use it only if nothing else is available: the program then knows the password, it may do all that
    /// the person may, single sign-on and a second factor do not work, and OAuth's best practice forbids
    /// it (RFC 9700, section 2.4: "MUST NOT be used"). So it is behind the feature `user-login`, and
    /// discovery never finds it.
    ///
    /// A rejected password is not sent again before it changes, because accounts are locked after a few
    /// wrong attempts.
    #[cfg(feature = "user-login")]
    pub fn password(username: impl Into<String>, password: impl Into<Secret>) -> UserCredentials {
        UserCredentials::of(Proof::Password {
            username: username.into(),
            password: password.into(),
            rejected: Arc::default(),
        })
    }

    /// Takes a refresh token of a person who has logged in somewhere. It may do all that the person may,
    /// until the session ends.
    ///
    /// If the control plane rotates refresh tokens, each token costs the refresh token, and the new one
    /// must outlive the program: provide a store with [`RefreshTokens::stored`]. See [`RefreshTokens`] for
    /// two processes with one login.
    pub fn refresh_token(token: impl Into<RefreshTokens>) -> UserCredentials {
        UserCredentials::of(Proof::RefreshToken(token.into()))
    }
}

impl UserCredentials {
    fn of(proof: Proof) -> Self {
        Self {
            proof,
            client_id: CLIENT_ID.into(),
        }
    }

    /// Sets the client on whose behalf the person logs in. A refresh token works only for the client that
    /// it was issued to.
    ///
    /// Defaults to `cli`, like the command line.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }
}

impl Credential for UserCredentials {
    fn subject(&self) -> Subject {
        match &self.proof {
            #[cfg(feature = "user-login")]
            Proof::Password {
                username, password, ..
            } => Subject {
                name: format!("user {}", ForeignText::new(username)),
                advice: "check the email and the password, and log in to the UI once: it may ask for a new \
                         password, a second factor or single sign-on; the password is not sent again \
                         before it changes",
                single_use: password.tells_changes(),
            },
            Proof::RefreshToken(_) => Subject {
                name: format!(
                    "the refresh token of client {}",
                    ForeignText::new(&self.client_id)
                ),
                advice: "log in again; the session has ended, or the token was used elsewhere",
                single_use: true,
            },
        }
    }

    fn epoch(&self) -> u64 {
        match &self.proof {
            #[cfg(feature = "user-login")]
            Proof::Password { password, .. } => password.epoch(),
            Proof::RefreshToken(tokens) => tokens.epoch(),
        }
    }

    fn known_secrets(&self) -> Vec<SecretText> {
        match &self.proof {
            #[cfg(feature = "user-login")]
            Proof::Password { password, .. } => password.known().into_iter().collect(),
            // It is in a store. The exchange knows those that it sent and received.
            Proof::RefreshToken(_) => Vec::new(),
        }
    }

    fn fetch<'a>(&'a self, exchange: &'a Arc<Exchange>, cx: &'a FetchContext) -> Fetching<'a> {
        Box::pin(async move {
            match &self.proof {
                #[cfg(feature = "user-login")]
                Proof::Password {
                    username,
                    password,
                    rejected,
                } => {
                    let subject = self.subject();
                    let password = password.current().await.map_err(|error| {
                        let message = format!("there is no password for {}", subject.name);
                        unreadable(&message, error, "check the place that it is read from")
                    })?;
                    let base = exchange.control_plane().base();
                    if let Some(error) = rejected.error(&base, &password) {
                        return Err(error);
                    }
                    let grant = Grant::Password {
                        username: username.clone(),
                        password: password.clone(),
                        client_id: self.client_id.clone(),
                    };
                    let issued = exchange.issue(&grant, &subject).await;
                    if let Err(error) = &issued {
                        if error.is_invalid_credentials() {
                            rejected.remember(base, password, error.clone());
                        }
                    }
                    Ok(issued?.token)
                }
                Proof::RefreshToken(tokens) => {
                    let (exchange, subject) = (exchange.clone(), self.subject());
                    let client_id = self.client_id.clone();
                    let send = move |token: SecretText| {
                        let (exchange, subject) = (exchange.clone(), subject.clone());
                        let client_id = client_id.clone();
                        async move {
                            let grant = Grant::Refresh { token, client_id };
                            exchange.issue(&grant, &subject).await
                        }
                    };
                    tokens.exchange(cx.time_left(), send).await
                }
            }
        })
    }
}

impl From<UserCredentials> for Credentials {
    fn from(user: UserCredentials) -> Self {
        Self::new(user)
    }
}
