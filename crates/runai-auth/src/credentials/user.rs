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
    FetchContext,
    oauth2::{RefreshTokens, SecretText},
};

use super::{Credentials, Fetching, Login, Who};
#[cfg(feature = "user-login")]
use crate::secret::Secret;
use crate::{exchange::Exchange, grant::Grant};

/// The client that asks for a person, if none is named: what the command line calls itself.
const CLIENT_ID: &str = "cli";

/// A person's login: what [`Credentials::refresh_token`] makes.
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
        refused: Arc<Refused>,
    },
    RefreshToken(RefreshTokens),
}

/// The password that each control plane has refused last, with what was said. It is not sent there again,
/// since accounts are locked after a few wrong tries.
#[cfg(feature = "user-login")]
#[derive(Debug, Default)]
struct Refused(Mutex<BTreeMap<String, (SecretText, String)>>);

#[cfg(feature = "user-login")]
impl Refused {
    fn words(&self, base: &str, password: &SecretText) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (refused, words) = all.get(base)?;
        (refused == password).then(|| words.clone())
    }

    fn note(&self, base: String, password: SecretText, error: &SourceError) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(base, (password, error.to_string()));
    }
}

impl UserCredentials {
    #[cfg(feature = "user-login")]
    pub(super) fn password(username: String, password: Secret) -> Self {
        let refused = Arc::default();
        Self::of(Proof::Password {
            username,
            password,
            refused,
        })
    }

    pub(super) fn refresh_token(tokens: RefreshTokens) -> Self {
        Self::of(Proof::RefreshToken(tokens))
    }

    fn of(proof: Proof) -> Self {
        Self {
            proof,
            client_id: CLIENT_ID.into(),
        }
    }

    /// Names the client on whose behalf is asked. A refresh token is good for the client alone that it was
    /// given to.
    ///
    /// Defaults to `cli`, as the command line has it.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }
}

impl Login for UserCredentials {
    fn who(&self) -> Who {
        match &self.proof {
            #[cfg(feature = "user-login")]
            Proof::Password {
                username, password, ..
            } => Who {
                name: format!("user `{username}`"),
                advice: "check the email and the password, and log in to the UI once: a new password, a \
                         second factor or single sign-on may be asked for; the password is not sent \
                         again before it changes",
                once: password.tells_changes(),
            },
            Proof::RefreshToken(_) => Who {
                name: format!("the refresh token of client `{}`", self.client_id),
                advice: "the session has ended, or the token was used elsewhere: log in again",
                once: true,
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

    fn fetch<'a>(&'a self, exchange: &'a Arc<Exchange>, cx: &'a FetchContext) -> Fetching<'a> {
        Box::pin(async move {
            match &self.proof {
                #[cfg(feature = "user-login")]
                Proof::Password {
                    username,
                    password,
                    refused,
                } => {
                    let who = self.who();
                    let password = password.current().await.map_err(|error| {
                        let name = &who.name;
                        SourceError::transient(format!("there is no password for {name}"))
                            .with_source(error)
                    })?;
                    let base = exchange.control_plane().base();
                    if let Some(words) = refused.words(&base, &password) {
                        let error = SourceError::invalid_credentials(words);
                        return Err(match who.once {
                            true => error.until_changed(),
                            false => error,
                        });
                    }
                    let grant = Grant::Password {
                        username: username.clone(),
                        password: password.clone(),
                        client_id: self.client_id.clone(),
                    };
                    let issued = exchange.issue(&grant, &who).await;
                    if let Some(error) = issued
                        .as_ref()
                        .err()
                        .filter(|it| it.is_invalid_credentials())
                    {
                        refused.note(base, password, error);
                    }
                    Ok(issued?.token)
                }
                Proof::RefreshToken(tokens) => {
                    let (exchange, who) = (exchange.clone(), self.who());
                    let client_id = self.client_id.clone();
                    let send = move |token: SecretText| {
                        let (exchange, who) = (exchange.clone(), who.clone());
                        let client_id = client_id.clone();
                        async move {
                            let grant = Grant::Refresh { token, client_id };
                            exchange.issue(&grant, &who).await
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
