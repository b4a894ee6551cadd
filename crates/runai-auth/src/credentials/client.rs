//! A client's id and secret.

use std::{path::PathBuf, sync::Arc};

use tower_bearer::{BoxError, FetchContext, ForeignText, SourceError, oauth2::SecretText};

use super::{
    credential::{Credential, Credentials, Fetching},
    files,
    unreadable::unreadable,
};
use crate::{
    error::{SetupError, SetupErrorKind},
    exchange::{ClientGrant, Exchange, Grant, Subject},
    files::{Watched, shown_path},
    secret::Secret,
};

/// A client's id and secret. [`Credentials::client`] makes it.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    pair: Arc<Pair>,
    grant: ClientGrant,
}

/// Where the id and the secret are.
#[derive(Debug)]
enum Pair {
    Configured {
        id: Id,
        secret: Secret,
    },
    Files {
        path: PathBuf,
        both: Watched<(String, SecretText)>,
    },
}

/// An id is not a secret, but may be in a file beside one.
#[derive(Debug)]
enum Id {
    Text(String),
    InFile(Secret),
}

impl Credentials {
    /// Takes a client's id and its secret: an application's name and secret key, or, in later versions,
    /// the id and secret of a service account or an access key. For every program that runs by itself.
    ///
    /// Each token costs one request. It is sent to `/api/v1/token` as `app_token`, as the how-to page has
    /// it and NVIDIA's SDK does for all of them, or as `client_credentials` to the other endpoints; see
    /// [`ControlPlane::token_endpoint`](crate::ControlPlane::token_endpoint).
    pub fn client(id: impl Into<String>, secret: impl Into<Secret>) -> ClientCredentials {
        let (id, secret) = (Id::Text(id.into()), secret.into());
        ClientCredentials::of(Pair::Configured { id, secret })
    }

    /// Does the same as [`client`](Self::client), by the first name that the UI had for it: the
    /// application's name and its secret key.
    pub fn application(name: impl Into<String>, secret: impl Into<Secret>) -> ClientCredentials {
        Self::client(name, secret)
    }

    /// Does the same as [`client`](Self::client), by the name that the UI has since 2.24.
    pub fn service_account(id: impl Into<String>, secret: impl Into<Secret>) -> ClientCredentials {
        Self::client(id, secret)
    }

    /// Does the same as [`client`](Self::client), for a person's access key. It may do what the person may.
    pub fn access_key(id: impl Into<String>, secret: impl Into<Secret>) -> ClientCredentials {
        Self::client(id, secret)
    }

    /// Takes a client's id and secret from files that may be rotated while the program runs:
    ///
    /// - a folder with `client-id` and `client-secret`, as Kubernetes mounts a secret, or
    /// - one file with both, in JSON (`{"clientId": "…", "clientSecret": "…"}`) or on a line each
    ///   (`CLIENT_ID=…`), as Vault Agent writes it.
    ///
    /// In JSON and in lines, a name may be in any case, with `-`, `_` or neither, may begin with `RUNAI_`,
    /// and may say `app` instead of `client`. One line break at the end is not part of a value. Everything
    /// else in the file is ignored.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or lacks the id or the secret. After the first reading, files that are
    /// empty or half-written keep the last good values.
    pub fn from_files(path: impl Into<PathBuf>) -> Result<Self, SetupError> {
        Ok(ClientCredentials::from_files(path.into())?.into())
    }
}

impl ClientCredentials {
    /// Takes an id that is in a file, like the secret. Each fetch reads both.
    pub(crate) fn with_id_in_file(id: Secret, secret: Secret) -> Self {
        let id = Id::InFile(id);
        Self::of(Pair::Configured { id, secret })
    }

    pub(crate) fn from_files(path: PathBuf) -> Result<Self, SetupError> {
        let both = files::pair(&path);
        // Each fetch reads them. This reports at once what the first fetch would report later.
        both.read().map_err(|error| {
            let message = format!("no client id and secret: {}", error.message());
            SetupError::new(SetupErrorKind::Credentials, message).with_file(error)
        })?;
        Ok(Self::of(Pair::Files { path, both }))
    }

    fn of(pair: Pair) -> Self {
        Self {
            pair: Arc::new(pair),
            grant: ClientGrant::default(),
        }
    }

    /// Sets the name of the grant at `/api/v1/token`, for a control plane that accepts only the newer name.
    ///
    /// Defaults to [`ClientGrant::AppToken`].
    #[must_use]
    pub fn grant(mut self, grant: ClientGrant) -> Self {
        self.grant = grant;
        self
    }

    async fn current(&self) -> Result<(String, SecretText), SourceError> {
        let missing = |error: BoxError| {
            let message = format!("there is no secret for {}", self.subject().name);
            unreadable(
                &message,
                error,
                "check the place that the secret is read from",
            )
        };
        match &*self.pair {
            Pair::Configured { id, secret } => {
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

impl Credential for ClientCredentials {
    fn subject(&self) -> Subject {
        let name = match &*self.pair {
            Pair::Configured {
                id: Id::Text(id), ..
            } => application(id),
            Pair::Configured {
                id: Id::InFile(file),
                ..
            } => match file.last() {
                Some(id) => application(id.expose_secret().trim()),
                None => "the application of the environment".into(),
            },
            Pair::Files { path, both } => match both.last() {
                Some((id, _)) => application(&id),
                None => format!("the application in {}", shown_path(path)),
            },
        };
        Subject {
            name,
            advice: "check the application's name and its secret key; regenerating the key revokes the \
                     previous one",
            single_use: false,
        }
    }

    fn epoch(&self) -> u64 {
        match &*self.pair {
            Pair::Configured { id, secret } => {
                let id = match id {
                    Id::Text(_) => 0,
                    Id::InFile(file) => file.epoch(),
                };
                id + secret.epoch()
            }
            Pair::Files { both, .. } => both.epoch(),
        }
    }

    fn known_secrets(&self) -> Vec<SecretText> {
        match &*self.pair {
            Pair::Configured { secret, .. } => secret.known().into_iter().collect(),
            Pair::Files { both, .. } => both.last().map(|(_, secret)| secret).into_iter().collect(),
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
            Ok(exchange.issue(&grant, &self.subject()).await?.token)
        })
    }
}

fn application(id: &str) -> String {
    format!("application {}", ForeignText::new(id))
}

impl From<ClientCredentials> for Credentials {
    fn from(client: ClientCredentials) -> Self {
        Self::new(client)
    }
}
