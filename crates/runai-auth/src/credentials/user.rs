//! A person's login: a password, or a refresh token.

use std::sync::Arc;

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
    },
    RefreshToken(RefreshTokens),
}

impl UserCredentials {
    #[cfg(feature = "user-login")]
    pub(super) fn password(username: String, password: Secret) -> Self {
        Self::of(Proof::Password { username, password })
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
            Proof::Password { username, .. } => Who {
                name: format!("user `{username}`"),
                advice: "check the email and the password, and log in to the UI once: a new password, a \
                         second factor or single sign-on may be asked for; the password is not sent \
                         again before it changes",
                once: true,
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
                Proof::Password { username, password } => {
                    let password = password.current().await.map_err(|error| {
                        let name = &self.who().name;
                        tower_bearer::SourceError::transient(format!(
                            "there is no password for {name}"
                        ))
                        .with_source(error)
                    })?;
                    let grant = Grant::Password {
                        username: username.clone(),
                        password,
                        client_id: self.client_id.clone(),
                    };
                    Ok(exchange.issue(&grant, &self.who()).await?.token)
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
