//! The login of a Kubernetes profile: the Run:ai CLI's, version 1, or `oc login`'s.

use std::{path::PathBuf, sync::Arc};

use tower_bearer::{
    BoxError, FetchContext, SourceError, Token,
    auth::Origin,
    oauth2::{Issued, Metadata, SecretText, TokenRequest},
};
use zeroize::Zeroizing;

use super::{
    Credentials, Fetching, Login, Who, held,
    kept::{Kept, KeptLogin, Stored, Writing},
};
use crate::{
    exchange::Exchange,
    explain::Scene,
    files::{FileError, FileKind, read_line, warn_if_others_may_read},
    kubeconfig::{self, Kubeconfig, Login as Found, Oidc, User},
};

const OIDC_ADVICE: &str = "run `runai login`";
const OTHER_ADVICE: &str = "log in again, with `oc login` or what else made this profile";

/// The login of a Kubernetes profile: what [`Credentials::kubeconfig`] makes.
#[derive(Clone, Debug)]
pub struct KubeconfigCredentials {
    profile: Arc<Profile>,
    login: KeptLogin,
}

#[derive(Debug)]
struct Profile {
    paths: Vec<PathBuf>,
    context: Option<String>,
    /// The only issuer whose login counts, if the profile was found by discovery.
    issuer: Option<Origin>,
}

impl Profile {
    fn user(&self) -> Result<User, BoxError> {
        let user = kubeconfig::load(&self.paths)?.user(self.context.as_deref())?;
        // What discovery saw must still be so: it promised to run no program, and which issuer it is.
        if let Some(issuer) = &self.issuer {
            let Found::Oidc(oidc) = &user.login else {
                return Err(another_sort(&user).into());
            };
            let origin = Origin::parse(&oidc.issuer)?;
            if origin != *issuer {
                let what = format!("names another issuer now: {origin}");
                return Err(FileError::new(&user.file, what).into());
            }
        }
        Ok(user)
    }
}

fn another_sort(user: &User) -> FileError {
    FileError::new(&user.file, "holds another sort of login now")
}

impl KubeconfigCredentials {
    pub(crate) fn new(paths: Vec<PathBuf>, context: Option<String>) -> Self {
        Self::of(Profile {
            paths,
            context,
            issuer: None,
        })
    }

    /// A login by OpenID Connect that discovery has found: of this context and this issuer alone,
    /// whatever becomes the current context later.
    pub(crate) fn found(paths: Vec<PathBuf>, context: String, issuer: Origin) -> Self {
        Self::of(Profile {
            paths,
            context: Some(context),
            issuer: Some(issuer),
        })
    }

    fn of(profile: Profile) -> Self {
        let profile = Arc::new(profile);
        let read = profile.clone();
        Self {
            profile,
            login: KeptLogin::new(move || kept(&read)),
        }
    }

    /// Reads this file alone.
    ///
    /// Defaults to the files in `KUBECONFIG`, merged as kubectl merges them, else `~/.kube/config`.
    #[must_use]
    pub fn path(self, path: impl Into<PathBuf>) -> Self {
        Self::new(vec![path.into()], self.profile.context.clone())
    }

    /// Takes the user of this context.
    ///
    /// Defaults to the current context.
    #[must_use]
    pub fn context(self, name: impl Into<String>) -> Self {
        Self::new(self.profile.paths.clone(), Some(name.into()))
    }

    fn named(&self) -> String {
        match &self.profile.context {
            Some(name) => format!("the kubeconfig's context `{name}`"),
            None => "the kubeconfig's current context".into(),
        }
    }
}

/// What a profile by OpenID Connect holds.
fn kept(profile: &Profile) -> Result<Kept, FileError> {
    let somewhere = profile.paths.first().cloned().unwrap_or_default();
    let user = profile
        .user()
        .map_err(|error| FileError::new(&somewhere, "cannot be used").with_source(error))?;
    let whose = whose(&user);
    let stored = |text: &Zeroizing<String>| Stored {
        text: text.as_str().into(),
        written: text.as_str().into(),
        writing: Writing::Plain,
    };
    // The other sorts are not kept here, but a change of theirs, or to one of them, is to be seen.
    let (token, refresh_token) = match &user.login {
        Found::Oidc(oidc) => (oidc.id_token.as_ref(), oidc.refresh_token.as_ref()),
        Found::Token(token) => (Some(token), None),
        Found::TokenFile(path) => {
            let text = read_line(path, FileKind::Secret)?;
            return Ok(Kept {
                file: user.file,
                whose,
                token: Some(stored(&text)),
                refresh_token: None,
            });
        }
        Found::Exec(_) | Found::None(_) => (None, None),
    };
    let (token, refresh_token) = (token.map(stored), refresh_token.map(stored));
    if token.is_some() || refresh_token.is_some() {
        warn_if_others_may_read(&user.file);
    }
    Ok(Kept {
        file: user.file,
        whose,
        token,
        refresh_token,
    })
}

/// A user of a context, and with whom they log in.
fn whose(user: &User) -> String {
    let with = match &user.login {
        Found::Oidc(oidc) => format!("oidc {:?} {:?}", oidc.issuer, oidc.client_id),
        Found::Token(_) => "token".into(),
        Found::TokenFile(path) => format!("tokenFile {path:?}"),
        Found::Exec(exec) => format!("{exec:?}"),
        Found::None(instead) => instead.clone(),
    };
    format!("{:?} {:?} {with}", user.context, user.name)
}

impl Login for KubeconfigCredentials {
    fn who(&self) -> Who {
        Who {
            name: self.named(),
            advice: OTHER_ADVICE,
            once: true,
        }
    }

    fn epoch(&self) -> u64 {
        self.login.epoch()
    }

    fn fetch<'a>(&'a self, exchange: &'a Arc<Exchange>, cx: &'a FetchContext) -> Fetching<'a> {
        Box::pin(async move {
            let place = self.named();
            let profile = self.profile.clone();
            let asked = exchange.control_plane();
            if profile
                .issuer
                .as_ref()
                .is_some_and(|it| it != asked.origin())
            {
                let base = asked.base();
                return Err(SourceError::invalid_credentials(format!(
                    "{place} was found for another control plane and is not for {base}"
                )));
            }
            let reading = tokio::task::spawn_blocking(move || profile.user()).await;
            let cannot = || SourceError::invalid_credentials(format!("{place} gives no token"));
            let user = match reading {
                Ok(Ok(user)) => user,
                Ok(Err(error)) => return Err(cannot().with_source(error)),
                Err(ended) => return Err(cannot().with_source(ended)),
            };
            let name = format!(
                "login of user `{}` (context `{}`) in {}",
                user.name,
                user.context,
                user.file.display()
            );
            let whose = whose(&user);
            match user.login {
                Found::Token(token) => {
                    let text = token.as_str().into();
                    held::token(&text, None, &format!("the {name}"), OTHER_ADVICE)
                }
                Found::TokenFile(path) => {
                    let text = read_line(&path, FileKind::Secret);
                    let mut text = text.map_err(|error| cannot().with_source(error))?;
                    let text = std::mem::take(&mut *text).into();
                    held::token(&text, None, &format!("the {name}"), OTHER_ADVICE)
                }
                Found::Exec(exec) => {
                    let got = exec.run().await;
                    let got = got.map_err(|error| {
                        SourceError::transient(format!("the {name} gives no token"))
                            .with_source(error)
                    })?;
                    let text = got.token.as_str().into();
                    held::token(&text, got.expires_at, &format!("the {name}"), OTHER_ADVICE)
                }
                Found::Oidc(oidc) => {
                    let who = Who {
                        name,
                        advice: OIDC_ADVICE,
                        once: true,
                    };
                    self.by_oidc(oidc, who, &whose, exchange, cx).await
                }
                Found::None(instead) => Err(SourceError::invalid_credentials(format!(
                    "the {name} has no token but {instead}: {OTHER_ADVICE}"
                ))),
            }
        })
    }
}

impl KubeconfigCredentials {
    async fn by_oidc(
        &self,
        oidc: Oidc,
        who: Who,
        whose: &str,
        exchange: &Arc<Exchange>,
        cx: &FetchContext,
    ) -> Result<Token, SourceError> {
        let (exchange, oidc, asking) = (exchange.clone(), Arc::new(oidc), who.clone());
        let send = move |token: SecretText| {
            let (exchange, oidc, who) = (exchange.clone(), oidc.clone(), asking.clone());
            async move { refresh(&exchange, &oidc, &who, token).await }
        };
        self.login.fetch(&who, whose, true, cx, send).await
    }
}

/// Redeems a refresh token at the issuer that the profile names, and nowhere else.
async fn refresh(
    exchange: &Exchange,
    oidc: &Oidc,
    who: &Who,
    token: SecretText,
) -> Result<Issued, SourceError> {
    let issuer = &oidc.issuer;
    let is_safe = Origin::parse(issuer).is_ok_and(|origin| origin.is_safe());
    if !is_safe {
        return Err(SourceError::malformed(format!(
            "the issuer {issuer} of the {} is not reached over TLS, and the refresh token is not sent \
             there",
            who.name
        )));
    }
    let transport = exchange.transport()?;
    let metadata = Metadata::discover(transport, issuer).await?;
    let endpoint = metadata.token_endpoint_on(&[])?;
    let mut request = TokenRequest::form(endpoint)
        .parameter("grant_type", "refresh_token")
        .parameter("client_id", &oidc.client_id)
        .secret_parameter("refresh_token", &token);
    if let Some(secret) = &oidc.client_secret {
        request = request.secret_parameter("client_secret", &secret.as_str().into());
    }
    let scene = Scene {
        base: issuer.clone(),
        who,
    };
    let answer = transport.send(request).await;
    let answer = answer.map_err(|failure| scene.failure(failure))?;
    let tried = [metadata.token_endpoint];
    let mut issued = answer
        .token()
        .map_err(|flaw| scene.flaw(flaw, &answer, &tried))?;
    // The profile's bearer is the ID token, as kubectl has it.
    if let Some(id_token) = &issued.id_token {
        issued.token = held::token(id_token, None, &format!("the {}", who.name), who.advice)?;
    }
    Ok(issued)
}

/// The current context and its login by OpenID Connect, if it has one.
pub(crate) fn current_oidc(
    config: &Kubeconfig,
) -> Result<Option<(String, Oidc)>, kubeconfig::Error> {
    let user = config.user(None)?;
    match user.login {
        Found::Oidc(oidc) => Ok(Some((user.context, oidc))),
        _ => Ok(None),
    }
}

impl From<KubeconfigCredentials> for Credentials {
    fn from(kubeconfig: KubeconfigCredentials) -> Self {
        Self::new(kubeconfig)
    }
}
