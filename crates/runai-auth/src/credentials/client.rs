//! A client's id and secret.

use std::{path::PathBuf, sync::Arc};

use tower_bearer::{FetchContext, SourceError, oauth2::SecretText};

use super::{Credentials, Fetching, Login, Who, files};
use crate::{
    error::{Error, Kind},
    exchange::Exchange,
    files::Watched,
    grant::Grant,
    secret::Secret,
};

/// A client's id and secret: what [`Credentials::client`] makes.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    pair: Arc<Pair>,
    grant: ClientGrant,
}

/// What a client's request to `/api/v1/token` is called there. The other endpoints know one only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientGrant {
    /// `app_token`, which every version takes.
    #[default]
    AppToken,
    /// `client_credentials`, which 2.20 and later take.
    ClientCredentials,
}

/// Where the two are.
#[derive(Debug)]
enum Pair {
    Told {
        id: Id,
        secret: Secret,
    },
    Files {
        path: PathBuf,
        both: Watched<(String, SecretText)>,
    },
}

/// An id is no secret, but may lie in a file beside one.
#[derive(Debug)]
enum Id {
    Text(String),
    InFile(Secret),
}

impl ClientCredentials {
    pub(super) fn new(id: String, secret: Secret) -> Self {
        let id = Id::Text(id);
        Self::of(Pair::Told { id, secret })
    }

    /// Both the id and the secret are read at each fetch.
    pub(crate) fn with_id_in_file(id: Secret, secret: Secret) -> Self {
        let id = Id::InFile(id);
        Self::of(Pair::Told { id, secret })
    }

    pub(crate) fn from_files(path: PathBuf) -> Result<Self, Error> {
        let both = files::pair(&path);
        // They are read at each fetch; that they are wrong from the start is said at once.
        both.read().map_err(|error| {
            let message = format!("no client id and secret: {error}");
            Error::new(Kind::Credentials, message).with_source(error)
        })?;
        Ok(Self::of(Pair::Files { path, both }))
    }

    fn of(pair: Pair) -> Self {
        Self {
            pair: Arc::new(pair),
            grant: ClientGrant::default(),
        }
    }

    /// Says what the request is called at `/api/v1/token`, for a control plane that takes the newer name
    /// only.
    ///
    /// Defaults to [`ClientGrant::AppToken`].
    #[must_use]
    pub fn grant(mut self, grant: ClientGrant) -> Self {
        self.grant = grant;
        self
    }

    async fn current(&self) -> Result<(String, SecretText), SourceError> {
        let missing = |error: tower_bearer::BoxError| {
            SourceError::transient(format!("there is no secret for {}", self.who().name))
                .with_source(error)
        };
        match &*self.pair {
            Pair::Told { id, secret } => {
                let id = match id {
                    Id::Text(id) => id.clone(),
                    Id::InFile(file) => {
                        let id = file.current().await.map_err(missing)?;
                        id.expose_secret().trim().to_owned()
                    }
                };
                Ok((id, secret.current().await.map_err(missing)?))
            }
            Pair::Files { both, .. } => both.current().await.map_err(|error| missing(error.into())),
        }
    }
}

impl Login for ClientCredentials {
    fn who(&self) -> Who {
        let name = match &*self.pair {
            Pair::Told {
                id: Id::Text(id), ..
            } => format!("application `{id}`"),
            Pair::Told {
                id: Id::InFile(file),
                ..
            } => match file.last() {
                Some(id) => format!("application `{}`", id.expose_secret().trim()),
                None => "the application of the environment".into(),
            },
            Pair::Files { path, both } => match both.last() {
                Some((id, _)) => format!("application `{id}`"),
                None => format!("the application in {}", path.display()),
            },
        };
        Who {
            name,
            advice: "check the application's name and its secret key; regenerating the key revokes the \
                     previous one",
            once: false,
        }
    }

    fn epoch(&self) -> u64 {
        match &*self.pair {
            Pair::Told { id, secret } => {
                let id = match id {
                    Id::Text(_) => 0,
                    Id::InFile(file) => file.epoch(),
                };
                id + secret.epoch()
            }
            Pair::Files { both, .. } => both.epoch(),
        }
    }

    fn fetch<'a>(&'a self, exchange: &'a Arc<Exchange>, _cx: &'a FetchContext) -> Fetching<'a> {
        Box::pin(async move {
            let (id, secret) = self.current().await?;
            let grant = Grant::Client {
                id,
                secret,
                v1: self.grant,
            };
            Ok(exchange.issue(&grant, &self.who()).await?.token)
        })
    }
}

impl From<ClientCredentials> for Credentials {
    fn from(client: ClientCredentials) -> Self {
        Self::new(client)
    }
}
