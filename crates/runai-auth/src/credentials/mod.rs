//! Who asks for tokens: one file for each way to hold one.

mod cli;
mod client;
mod external;
mod files;
mod held;
mod kept;
mod kube;
mod user;

use std::{fmt, future::Future, path::PathBuf, pin::Pin, sync::Arc};

use tower_bearer::{
    FetchContext, SourceError, Token,
    oauth2::{RefreshTokens, SecretText},
};

pub use self::{
    cli::CliCredentials,
    client::{ClientCredentials, ClientGrant},
    kube::KubeconfigCredentials,
    user::UserCredentials,
};
pub(crate) use self::{cli::Places, files::present, kube::current_oidc};
use crate::{
    control_plane::ControlPlane,
    discover::{self, Machine},
    env,
    error::{Error, Kind},
    exchange::Exchange,
    kubeconfig,
    secret::Secret,
};

/// Who asks for a token, and how that is proven.
///
/// | you have | take | it refreshes itself |
/// | --- | --- | --- |
/// | an application, a service account, an access key | [`client`](Self::client) | yes |
/// | the same in files, mounted or written by an agent | [`from_files`](Self::from_files) | yes, and follows a rotated secret |
/// | a token of an outside identity provider, Kubernetes' projected one, say | [`external_token`](Self::external_token) | as long as the outside one does |
/// | a refresh token | [`refresh_token`](Self::refresh_token) | until the session ends |
/// | a `runai login`, version 2 | [`cli`](Self::cli), [`cli_command`](Self::cli_command) | if you let it |
/// | a `runai login`, version 1, an `oc login`, a Kubernetes profile | [`kubeconfig`](Self::kubeconfig) | as the profile can |
/// | one of these, whichever | [`discover`](Self::discover) | |
/// | a token | [`token`](Self::token), [`token_file`](Self::token_file) | no |
///
/// An application is what a program should have: it is nobody's own, its secret can be regenerated, and
/// its access rules are its own. All the others borrow a person's session or somebody else's trust.
#[derive(Clone)]
pub struct Credentials {
    pub(crate) login: Arc<dyn Login>,
}

pub(crate) type Fetching<'a> =
    Pin<Box<dyn Future<Output = Result<Token, SourceError>> + Send + 'a>>;

/// One way to hold a token.
pub(crate) trait Login: fmt::Debug + Send + Sync {
    /// Whose token it is.
    fn who(&self) -> Who;

    /// A number that grows when the secret changes.
    fn epoch(&self) -> u64;

    /// Whether its tokens come from somebody else, so that one which was rejected can only be replaced by
    /// them.
    fn is_held(&self) -> bool {
        false
    }

    /// Gets a token, by the exchange if it is one that the control plane gives.
    fn fetch<'a>(&'a self, exchange: &'a Arc<Exchange>, cx: &'a FetchContext) -> Fetching<'a>;
}

/// Whose token it is, in words for errors.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    /// Like "application `ci-bot`".
    pub(crate) name: String,
    /// What to do when the control plane says no.
    pub(crate) advice: &'static str,
    /// Whether a second try with the same secret could do harm.
    pub(crate) once: bool,
}

impl Credentials {
    pub(crate) fn new(login: impl Login + 'static) -> Self {
        let login = Arc::new(login);
        Self { login }
    }

    /// A client's id and its secret: an application's name and secret key, or, in later versions, the id
    /// and secret of a service account or an access key. For every program that runs by itself.
    ///
    /// It costs one request per token. On the wire it is `/api/v1/token` with `app_token`, as the how-to
    /// page has it and NVIDIA's SDK sends it for all of them, or `client_credentials` at the other
    /// endpoints; see [`ControlPlane::token_endpoint`](crate::ControlPlane::token_endpoint).
    pub fn client(id: impl Into<String>, secret: impl Into<Secret>) -> ClientCredentials {
        ClientCredentials::new(id.into(), secret.into())
    }

    /// The same as [`client`](Self::client), by the name that the UI had first: the application's name
    /// and its secret key.
    pub fn application(name: impl Into<String>, secret: impl Into<Secret>) -> ClientCredentials {
        Self::client(name, secret)
    }

    /// The same as [`client`](Self::client), by the name that the UI has since 2.24.
    pub fn service_account(id: impl Into<String>, secret: impl Into<Secret>) -> ClientCredentials {
        Self::client(id, secret)
    }

    /// The same as [`client`](Self::client), for one person's access key. It may do what the person may.
    pub fn access_key(id: impl Into<String>, secret: impl Into<Secret>) -> ClientCredentials {
        Self::client(id, secret)
    }

    /// A client's id and secret in files that may be rotated under a running program:
    ///
    /// - a folder with `client-id` and `client-secret`, as Kubernetes mounts a secret, or
    /// - one file with both, in JSON (`{"clientId": "…", "clientSecret": "…"}`) or a line for each
    ///   (`CLIENT_ID=…`), as Vault Agent writes it.
    ///
    /// In JSON and in lines a name may be written in any case, with `-`, `_` or neither, with `RUNAI_`
    /// before it, and `app` in the place of `client`. One line break at the end is not part of a value.
    /// Nothing else in the file counts.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or there is not both in it. Once they were read, files that are empty or
    /// half-written keep the last good values.
    pub fn from_files(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Ok(ClientCredentials::from_files(path.into())?.into())
    }

    /// A client's id and secret from the environment: `RUNAI_CLIENT_ID` and `RUNAI_CLIENT_SECRET`, of
    /// which each may be in a file that `…_FILE` names, and that may be rotated.
    ///
    /// # Errors
    ///
    /// If one is missing, empty or no text, a value is there in both forms, or a file cannot be read.
    /// All that is missing is named at once.
    pub fn from_env() -> Result<Self, Error> {
        env::credentials(&|name| std::env::var_os(name))
    }

    /// A person's email and password.
    ///
    /// Take it only where nothing else is to be had: the program then knows the password, it may do all
    /// that the person may, single sign-on and a second factor are out, and OAuth's best practice is
    /// against it (RFC 9700, section 2.4: "MUST NOT be used"). So it is behind the feature `user-login`,
    /// and no discovery finds it.
    ///
    /// A refused password is not sent again before it changes, since accounts are locked after a few
    /// wrong tries.
    #[cfg(feature = "user-login")]
    pub fn password(username: impl Into<String>, password: impl Into<Secret>) -> UserCredentials {
        UserCredentials::password(username.into(), password.into())
    }

    /// A refresh token of a person who has logged in somewhere. It may do all that the person may, until
    /// the session ends.
    ///
    /// Where the control plane rotates refresh tokens, each token costs the refresh token, and the new one
    /// must outlive the program: give a store, [`RefreshTokens::stored`]. See [`RefreshTokens`] for two
    /// processes with one login.
    pub fn refresh_token(token: impl Into<RefreshTokens>) -> UserCredentials {
        UserCredentials::refresh_token(token.into())
    }

    /// A token of an outside identity provider that the control plane trusts, which is exchanged for one
    /// of its own (2.22 and later, `/api/v1/token` only): Kubernetes' projected service-account token,
    /// say. For programs that should have no secret of their own.
    ///
    /// ```
    /// use runai_auth::{Credentials, Secret};
    ///
    /// let pod = Credentials::external_token(Secret::file("/var/run/secrets/tokens/runai"));
    /// let other = Credentials::external_token(Secret::command("my-idp", ["print-token"]));
    /// # drop((pod, other));
    /// ```
    pub fn external_token(token: impl Into<Secret>) -> Self {
        external::credentials(token.into())
    }

    /// The login of the Run:ai command line, version 2 (`runai login`): for a program on a person's own
    /// machine. It may do all that the person may.
    ///
    /// Its files, `authentication.json` and `config.json`, lie in `~/.runai` or where
    /// `RUNAI_CLI_CONFIG_PATH` says (`RUNAI_CLI_CONFIG_FILE` names the second); they are read again when
    /// they change. A login for another control plane is not used. The token lives about a day; then an
    /// error says to run `runai login`, unless
    /// [`redeem_refresh_token`](CliCredentials::redeem_refresh_token) was called.
    ///
    /// # Errors
    ///
    /// If there is no home directory.
    pub fn cli() -> Result<CliCredentials, Error> {
        let places = Places::new(&|name| std::env::var_os(name)).ok_or_else(|| {
            let message = "there is no home directory, and RUNAI_CLI_CONFIG_PATH is not set";
            Error::new(Kind::Environment, message)
        })?;
        Ok(CliCredentials::new(places))
    }

    /// The same, with its files in a folder that is named here.
    pub fn cli_in(folder: impl Into<PathBuf>) -> CliCredentials {
        CliCredentials::new(Places::in_folder(folder.into()))
    }

    /// The token that the Run:ai command line prints: `runai auth get-token -o plaintext`, which is run at
    /// each fetch.
    ///
    /// Which control plane the command line is logged in to is not looked at: the token of another one is
    /// rejected.
    #[must_use]
    pub fn cli_command() -> Self {
        let args = ["auth", "get-token", "-o", "plaintext"];
        held::refreshed_by(
            Secret::command("runai", args),
            "the token that `runai auth get-token` prints".into(),
            "run `runai login`",
        )
    }

    /// The login of a Kubernetes profile, in the files that `KUBECONFIG` names, merged as kubectl merges
    /// them, else in `~/.kube/config`.
    ///
    /// - What the Run:ai command line, version 1, keeps there (`auth-provider` with `name: oidc`): the ID
    ///   token until it ends, then the refresh token, at the token endpoint of the profile's issuer. The
    ///   new ones are written back, as kubectl did; where they cannot be, the refresh token is not spent.
    /// - `token` and `tokenFile`, as `oc login` leaves them, and `exec`, a program that prints a token
    ///   (`ExecCredential`, `client.authentication.k8s.io/v1` and `v1beta1`), which is run at each fetch.
    ///
    /// The second sort is unverified: such tokens are for the Kubernetes API, and the control plane's API
    /// may answer "Issuer is not familiar". Discovery finds the first sort alone.
    #[must_use]
    pub fn kubeconfig() -> KubeconfigCredentials {
        let paths = kubeconfig::paths(&|name| std::env::var_os(name));
        KubeconfigCredentials::new(paths, None)
    }

    /// What is found first, in this order:
    ///
    /// 1. the environment, as [`from_env`](Self::from_env) reads it;
    /// 2. mounted files, as [`from_files`](Self::from_files) reads them, where `RUNAI_CREDENTIALS` says,
    ///    else in `/var/run/secrets/runai`;
    /// 3. the login of the Run:ai command line, version 2, if it is for this control plane;
    /// 4. the kubeconfig's current context, if it logs in by OpenID Connect and its issuer is on the
    ///    control plane's origin.
    ///
    /// It runs no program, and finds no password. What it chose is logged once, at info, and what it
    /// passed over at debug.
    ///
    /// # Errors
    ///
    /// If nothing was found, with each place and what was missing there, or if a place has half of what
    /// it should.
    pub fn discover(control_plane: &ControlPlane) -> Result<Self, Error> {
        discover::credentials(&Machine::this(), control_plane)
    }

    /// A token that somebody else got: for a try, or a program that ends before the token does.
    ///
    /// It cannot be refreshed. When it has ended, requests fail with an error that says so.
    pub fn token(token: impl Into<SecretText>) -> Self {
        held::credentials(Secret::from(token.into()), "the fixed token".into())
    }

    /// A token that another program keeps fresh in a file. It is read again when it changes, and when the
    /// token is about to end.
    pub fn token_file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = format!("the token in {}", path.display());
        held::credentials(Secret::file(path), name)
    }

    /// Whose token it is, in words: "application `ci-bot`". Never a secret.
    #[must_use]
    pub fn name(&self) -> String {
        self.login.who().name
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("who", &self.login.who().name)
            .finish_non_exhaustive()
    }
}
