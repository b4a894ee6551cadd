//! Credentials of any kind, and the trait that each kind implements.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use tower_bearer::{FetchContext, SourceError, Token, oauth2::SecretText};

use crate::exchange::{Exchange, Subject};

/// Credentials: whose tokens to get, and what proves that.
///
/// | you have | use | refreshes itself |
/// | --- | --- | --- |
/// | an application, a service account, an access key | [`client`](Self::client) | yes |
/// | the same in files, mounted or written by an agent | [`from_files`](Self::from_files) | yes, and follows a rotated secret |
/// | a token of an external identity provider, such as Kubernetes' projected one | [`external_token`](Self::external_token) | while the external token does |
/// | a refresh token | [`refresh_token`](Self::refresh_token) | until the session ends |
/// | a `runai login`, version 2 | [`cli`](Self::cli), [`cli_command`](Self::cli_command) | if you allow it |
/// | a `runai login`, version 1, an `oc login`, a Kubernetes profile | [`kubeconfig`](Self::kubeconfig) | if the profile can |
/// | any of these | [`discover`](Self::discover) | |
/// | a token | [`token`](Self::token), [`token_file`](Self::token_file) | no |
///
/// A program should have an application: it belongs to no person, its secret can be regenerated, and it has
/// access rules of its own. All the others borrow a person's session or another party's trust.
#[derive(Clone)]
pub struct Credentials {
    pub(crate) credential: Arc<dyn Credential>,
}

impl Credentials {
    pub(crate) fn new(credential: impl Credential + 'static) -> Self {
        let credential = Arc::new(credential);
        Self { credential }
    }

    /// Returns whose token it is, in words: "application `ci-bot`". Never a secret.
    #[must_use]
    pub fn name(&self) -> String {
        self.credential.subject().name
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// The future of [`Credential::fetch`].
pub(crate) type Fetching<'a> =
    Pin<Box<dyn Future<Output = Result<Token, SourceError>> + Send + 'a>>;

/// One kind of credentials.
pub(crate) trait Credential: fmt::Debug + Send + Sync {
    /// Returns whose token it is.
    fn subject(&self) -> Subject;

    /// Returns a number that grows when the secret changes.
    fn epoch(&self) -> u64;

    /// Returns whether another party issues its tokens, so that only that party can replace one that was
    /// rejected.
    fn is_given(&self) -> bool {
        false
    }

    /// Returns the secrets that it has in memory, which no text may repeat. Those that a fetch reads and sends
    /// are known to the [`Exchange`].
    fn known_secrets(&self) -> Vec<SecretText>;

    /// Gets a token, through the exchange if the control plane issues it.
    fn fetch<'a>(&'a self, exchange: &'a Arc<Exchange>, cx: &'a FetchContext) -> Fetching<'a>;
}
