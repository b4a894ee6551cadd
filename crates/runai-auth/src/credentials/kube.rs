//! The login of a Kubernetes profile, as the Run:ai CLI (version 1) or `oc login` leaves it.

use std::{path::PathBuf, sync::Arc};

use tower_bearer::{
    BoxError, FetchContext, ForeignText, SourceError, Token,
    auth::Origin,
    oauth2::{Issued, Metadata, SecretText, TokenRequest, bare_url},
};
use zeroize::Zeroizing;

use super::{
    credential::{Credential, Credentials, Fetching},
    given_token::given_token,
    stored_login::{Encoding, StoredLogin, StoredSecret, StoredTokens},
    unreadable::unreadable,
};
use crate::{
    exchange::{Exchange, Parties, Subject},
    files::{FileError, FileKind, read_line, shown_path, warn_if_others_may_read},
    kubeconfig::{self, Kubeconfig, KubeconfigError, LoginMethod, Oidc, User},
};

/// The longest URL of an issuer, in bytes.
const MAX_ISSUER: usize = 2000;

const OIDC_ADVICE: &str = "run `runai login`";
const OTHER_ADVICE: &str = "log in again, with `oc login` or the tool that made this profile";

/// The login of a Kubernetes profile. [`Credentials::kubeconfig`] makes it.
#[derive(Clone, Debug)]
pub struct KubeconfigCredentials {
    profile: Arc<Profile>,
    login: StoredLogin,
}

#[derive(Debug)]
struct Profile {
    paths: Vec<PathBuf>,
    context: Option<String>,
    /// The only issuer to accept, if discovery found the profile.
    issuer: Option<Origin>,
}

impl Profile {
    fn user(&self) -> Result<User, BoxError> {
        let user = kubeconfig::load(&self.paths)?.user(self.context.as_deref())?;
        // Discovery promised to run no program and to use this issuer only.
        if let Some(issuer) = &self.issuer {
            let LoginMethod::Oidc(oidc) = &user.login else {
                let what = "holds another kind of login now";
                return Err(FileError::new(&user.file, what).into());
            };
            let origin = Origin::parse(&oidc.issuer)?;
            if origin != *issuer {
                let origin = ForeignText::new(&origin.to_string());
                let what = format!("names another issuer now: {origin}");
                return Err(FileError::new(&user.file, what).into());
            }
        }
        Ok(user)
    }
}

impl Credentials {
    /// Takes the login of a Kubernetes profile, from the files that `KUBECONFIG` names, merged as kubectl
    /// merges them, else from `~/.kube/config`.
    ///
    /// - A login of the Run:ai command line, version 1 (`auth-provider` with `name: oidc`): the ID token
    ///   until it expires, then the refresh token, at the token endpoint of the profile's issuer. The new
    ///   tokens are written back, as kubectl did. If they cannot be, the refresh token is not redeemed.
    /// - `token` and `tokenFile`, as `oc login` leaves them, and `exec`, a program that prints a token
    ///   (`ExecCredential`, `client.authentication.k8s.io/v1` and `v1beta1`). Each fetch runs it.
    ///
    /// The second kind is unverified: such tokens are for the Kubernetes API, and the control plane's API
    /// may answer "Issuer is not familiar". Discovery finds only the first kind.
    #[must_use]
    pub fn kubeconfig() -> KubeconfigCredentials {
        let paths = kubeconfig::paths(&|name| std::env::var_os(name));
        KubeconfigCredentials::new(paths, None)
    }
}

impl KubeconfigCredentials {
    fn new(paths: Vec<PathBuf>, context: Option<String>) -> Self {
        Self::of(Profile {
            paths,
            context,
            issuer: None,
        })
    }

    /// Takes a login by OpenID Connect that discovery found. It stays with this context and this issuer,
    /// whatever the current context is later.
    pub(crate) fn discovered(paths: Vec<PathBuf>, context: String, issuer: Origin) -> Self {
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
            login: StoredLogin::new(move || stored_tokens(&read)),
        }
    }

    /// Reads only this file.
    ///
    /// Defaults to the files in `KUBECONFIG`, merged as kubectl merges them, else `~/.kube/config`.
    #[must_use]
    pub fn path(self, path: impl Into<PathBuf>) -> Self {
        Self::new(vec![path.into()], self.profile.context.clone())
    }

    /// Uses this context.
    ///
    /// Defaults to the current context.
    #[must_use]
    pub fn context(self, name: impl Into<String>) -> Self {
        Self::new(self.profile.paths.clone(), Some(name.into()))
    }

    fn name(&self) -> String {
        match &self.profile.context {
            Some(name) => format!("the kubeconfig's context {}", ForeignText::new(name)),
            None => "the kubeconfig's current context".into(),
        }
    }
}

/// Reads the tokens of a profile.
fn stored_tokens(profile: &Profile) -> Result<StoredTokens, FileError> {
    let somewhere = profile.paths.first().cloned().unwrap_or_default();
    let user = profile
        .user()
        .map_err(|error| FileError::new(&somewhere, "cannot be used").with_source(error))?;
    let identity = identity(&user);
    let secret = |text: &Zeroizing<String>| StoredSecret {
        text: text.as_str().into(),
        written: text.as_str().into(),
        encoding: Encoding::Plain,
    };
    // A token or token file is read only to notice that it changed.
    let (token, refresh_token) = match &user.login {
        LoginMethod::Oidc(oidc) => (oidc.id_token.as_ref(), oidc.refresh_token.as_ref()),
        LoginMethod::Token(token) => (Some(token), None),
        LoginMethod::TokenFile(path) => {
            let text = read_line(path, FileKind::Secret);
            let text = text.map_err(FileError::with_foreign_path)?;
            return Ok(StoredTokens {
                file: user.file,
                identity,
                token: Some(secret(&text)),
                refresh_token: None,
            });
        }
        LoginMethod::Exec(_) | LoginMethod::None(_) => (None, None),
    };
    let (token, refresh_token) = (token.map(secret), refresh_token.map(secret));
    if token.is_some() || refresh_token.is_some() {
        warn_if_others_may_read(&user.file);
    }
    Ok(StoredTokens {
        file: user.file,
        identity,
        token,
        refresh_token,
    })
}

/// Returns the secrets of a login that the kubeconfig itself holds.
fn secrets(login: &LoginMethod) -> Vec<SecretText> {
    let all = match login {
        LoginMethod::Token(token) => [Some(token), None, None],
        LoginMethod::Oidc(oidc) => [
            oidc.id_token.as_ref(),
            oidc.refresh_token.as_ref(),
            oidc.client_secret.as_ref(),
        ],
        LoginMethod::TokenFile(_) | LoginMethod::Exec(_) | LoginMethod::None(_) => [None; 3],
    };
    let texts = all.into_iter().flatten();
    texts.map(|text| text.as_str().into()).collect()
}

/// Identifies a user of a context and the issuer of the login.
fn identity(user: &User) -> String {
    let with = match &user.login {
        LoginMethod::Oidc(oidc) => format!("oidc {:?} {:?}", oidc.issuer, oidc.client_id),
        LoginMethod::Token(_) => "token".into(),
        LoginMethod::TokenFile(path) => format!("tokenFile {path:?}"),
        LoginMethod::Exec(exec) => format!("{exec:?}"),
        LoginMethod::None(instead) => instead.clone(),
    };
    format!("{:?} {:?} {with}", user.context, user.name)
}

impl Credential for KubeconfigCredentials {
    fn subject(&self) -> Subject {
        Subject {
            name: self.name(),
            advice: OTHER_ADVICE,
            single_use: true,
        }
    }

    fn epoch(&self) -> u64 {
        self.login.epoch()
    }

    fn known_secrets(&self) -> Vec<SecretText> {
        self.login.known_secrets()
    }

    fn fetch<'a>(&'a self, exchange: &'a Arc<Exchange>, cx: &'a FetchContext) -> Fetching<'a> {
        Box::pin(async move {
            let place = self.name();
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
                ))
                .with_advice("discover the credentials of that control plane"));
            }
            let reading = tokio::task::spawn_blocking(move || profile.user()).await;
            let cannot =
                |error| unreadable(&format!("{place} gives no token"), error, OTHER_ADVICE);
            let user = match reading {
                Ok(Ok(user)) => user,
                Ok(Err(error)) => return Err(cannot(error)),
                Err(ended) => return Err(cannot(ended.into())),
            };
            let name = format!(
                "the login of user {} (context {}) in {}",
                ForeignText::new(&user.name),
                ForeignText::new(&user.context),
                shown_path(&user.file)
            );
            let identity = identity(&user);
            exchange.holding(secrets(&user.login));
            match user.login {
                LoginMethod::Token(token) => {
                    let text = token.as_str().into();
                    given_token(&text, None, &name, OTHER_ADVICE)
                }
                LoginMethod::TokenFile(path) => {
                    let text = read_line(&path, FileKind::Secret);
                    let mut text =
                        text.map_err(|error| cannot(error.with_foreign_path().into()))?;
                    let text = std::mem::take(&mut *text).into();
                    given_token(&text, None, &name, OTHER_ADVICE)
                }
                LoginMethod::Exec(exec) => {
                    let got = exec.run().await;
                    let got = got.map_err(|error| {
                        let message = format!("{name} gives no token");
                        unreadable(&message, error.into(), OTHER_ADVICE)
                    })?;
                    let text = got.token.as_str().into();
                    given_token(&text, got.expires_at, &name, OTHER_ADVICE)
                }
                LoginMethod::Oidc(oidc) => {
                    let subject = Subject {
                        name,
                        advice: OIDC_ADVICE,
                        single_use: true,
                    };
                    self.by_oidc(oidc, subject, &identity, exchange, cx).await
                }
                LoginMethod::None(instead) => Err(SourceError::no_credentials(format!(
                    "{name} has no token but {instead}"
                ))
                .with_advice(OTHER_ADVICE)),
            }
        })
    }
}

impl KubeconfigCredentials {
    async fn by_oidc(
        &self,
        oidc: Oidc,
        subject: Subject,
        identity: &str,
        exchange: &Arc<Exchange>,
        cx: &FetchContext,
    ) -> Result<Token, SourceError> {
        let send = {
            let (exchange, oidc, subject) = (exchange.clone(), Arc::new(oidc), subject.clone());
            move |token: SecretText| {
                let (exchange, oidc, subject) = (exchange.clone(), oidc.clone(), subject.clone());
                async move { refresh(&exchange, &oidc, &subject, token).await }
            }
        };
        self.login.fetch(&subject, identity, true, cx, send).await
    }
}

/// Redeems a refresh token, at the issuer that the profile names only.
async fn refresh(
    exchange: &Exchange,
    oidc: &Oidc,
    subject: &Subject,
    token: SecretText,
) -> Result<Issued, SourceError> {
    let issuer = &oidc.issuer;
    let is_plain = issuer.len() <= MAX_ISSUER && issuer.bytes().all(|b| b.is_ascii_graphic());
    let is_safe = is_plain && Origin::parse(issuer).is_ok_and(|origin| origin.is_safe());
    if !is_safe {
        let (issuer, name) = (ForeignText::new(&bare_url(issuer)), &subject.name);
        let message = format!(
            "the issuer {issuer} of {name} is not an https URL, so the refresh token is not sent there"
        );
        return Err(SourceError::malformed(message).with_advice(OIDC_ADVICE));
    }
    let client_secret = oidc.client_secret.as_ref().map(|it| it.as_str().into());
    exchange.sending(
        std::iter::once(token.clone())
            .chain(client_secret)
            .collect(),
    );
    let transport = exchange.transport()?;
    let metadata = Metadata::discover(&transport, issuer).await?;
    let endpoint = metadata.token_endpoint_on(&[])?;
    let mut request = TokenRequest::form(endpoint)
        .parameter("grant_type", "refresh_token")
        .parameter("client_id", &oidc.client_id)
        .secret_parameter("refresh_token", &token);
    if let Some(secret) = &oidc.client_secret {
        request = request.secret_parameter("client_secret", &secret.as_str().into());
    }
    let parties = Parties {
        base: ForeignText::new(&bare_url(issuer)).to_string(),
        subject,
    };
    let answer = transport.send(request).await;
    let answer = answer.map_err(|error| parties.no_answer(error))?;
    let endpoint = bare_url(&metadata.token_endpoint);
    let tried = [exchange.foreign_text(&endpoint).to_string()];
    let mut issued = answer
        .token()
        .map_err(|error| parties.no_token(error, &answer, &tried))?;
    exchange.issued(&issued);
    // The profile's bearer token is the ID token, as in kubectl.
    if let Some(id_token) = &issued.id_token {
        issued.token = given_token(id_token, None, &subject.name, subject.advice)?;
    }
    Ok(issued)
}

/// Returns the current context and its login by OpenID Connect, if it has one.
pub(crate) fn current_oidc(config: &Kubeconfig) -> Result<Option<(String, Oidc)>, KubeconfigError> {
    let user = config.user(None)?;
    match user.login {
        LoginMethod::Oidc(oidc) => Ok(Some((user.context, oidc))),
        _ => Ok(None),
    }
}

impl From<KubeconfigCredentials> for Credentials {
    fn from(kubeconfig: KubeconfigCredentials) -> Self {
        Self::new(kubeconfig)
    }
}
