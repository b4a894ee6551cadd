//! The flags of every command that connects: which control plane, which credentials, which network settings.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::values::{duration, path};

/// The control plane, the credentials, and the network settings.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConnectArgs {
    /// The control plane's URL: https://acme.run.ai
    #[arg(
        long,
        value_name = "URL",
        env = "RUNAI_BASE_URL",
        help_heading = "Control plane"
    )]
    pub(crate) base_url: Option<String>,
    /// The version of its token endpoint
    #[arg(
        long,
        value_name = "VERSION",
        value_enum,
        default_value = "auto",
        env = "RUNAI_AUTH_TOKEN_ENDPOINT",
        help_heading = "Control plane"
    )]
    pub(crate) token_endpoint: EndpointChoice,
    /// Keycloak's realm [default: the tenant's name for TENANT.run.ai, else runai]
    #[arg(
        long,
        value_name = "NAME",
        env = "RUNAI_AUTH_REALM",
        help_heading = "Control plane"
    )]
    pub(crate) realm: Option<String>,

    /// Which credentials to use [default: application if an id or a secret is given, else discover]
    #[arg(
        long,
        value_enum,
        env = "RUNAI_AUTH_METHOD",
        help_heading = "Credentials"
    )]
    pub(crate) method: Option<Method>,
    /// The application's name, or the client id of a service account or an access key.
    /// RUNAI_CLIENT_ID_FILE names a file that contains it
    #[arg(
        long,
        value_name = "ID",
        env = "RUNAI_CLIENT_ID",
        help_heading = "Credentials"
    )]
    pub(crate) client_id: Option<String>,
    /// A file with the secret key; the file may be rotated; `-` is the standard input. RUNAI_CLIENT_SECRET
    /// holds the secret itself
    #[arg(long, value_name = "FILE", value_parser = path,
        env = "RUNAI_CLIENT_SECRET_FILE",
        help_heading = "Credentials"
    )]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// A person's email, for the method `password`
    #[arg(
        long,
        value_name = "EMAIL",
        env = "RUNAI_AUTH_USERNAME",
        help_heading = "Credentials"
    )]
    pub(crate) username: Option<String>,
    /// A file with the password; `-` is the standard input
    #[arg(long, value_name = "FILE", value_parser = path,
        env = "RUNAI_AUTH_PASSWORD_FILE",
        help_heading = "Credentials"
    )]
    pub(crate) password_file: Option<PathBuf>,
    /// A file with a token that another program keeps fresh
    #[arg(long, value_name = "FILE", value_parser = path,
        env = "RUNAI_AUTH_TOKEN_FILE",
        help_heading = "Credentials"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// A kubeconfig [default: KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE", value_parser = path,
        env = "RUNAI_AUTH_KUBECONFIG",
        help_heading = "Credentials"
    )]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context [default: the current one]
    #[arg(
        long,
        value_name = "NAME",
        env = "RUNAI_AUTH_CONTEXT",
        help_heading = "Credentials"
    )]
    pub(crate) context: Option<String>,

    /// Certificates to trust as well as the system's, in PEM: a private CA
    #[arg(long, value_name = "FILE", value_parser = path,
        env = "RUNAI_AUTH_CA_FILE",
        help_heading = "Network"
    )]
    pub(crate) ca_file: Option<PathBuf>,
    /// A client certificate with its chain, in PEM
    #[arg(long, value_name = "FILE", value_parser = path,
        requires = "client_key",
        env = "RUNAI_AUTH_CLIENT_CERT",
        help_heading = "Network"
    )]
    pub(crate) client_cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", value_parser = path,
        requires = "client_cert",
        env = "RUNAI_AUTH_CLIENT_KEY",
        help_heading = "Network"
    )]
    pub(crate) client_key: Option<PathBuf>,
    /// Accept any certificate: anyone between here and there can then read the secret and the token
    #[arg(long, help_heading = "Network")]
    pub(crate) insecure_skip_tls_verify: bool,
    /// How long one attempt to get a token may take
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s", env = "RUNAI_AUTH_TIMEOUT", help_heading = "Network")]
    pub(crate) timeout: Duration,
}

impl ConnectArgs {
    /// Removes empty values: scripts set variables to nothing to unset them.
    pub(crate) fn without_empty(mut self) -> Self {
        let texts = [
            &mut self.base_url,
            &mut self.realm,
            &mut self.client_id,
            &mut self.username,
            &mut self.context,
        ];
        for text in texts {
            text.take_if(|text| text.trim().is_empty());
        }
        let paths = [
            &mut self.client_secret_file,
            &mut self.password_file,
            &mut self.token_file,
            &mut self.kubeconfig,
            &mut self.ca_file,
            &mut self.client_cert,
            &mut self.client_key,
        ];
        for path in paths {
            path.take_if(|path| path.as_os_str().is_empty());
        }
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EndpointChoice {
    /// Detected
    Auto,
    /// /api/v1/token
    V1,
    /// /api/v2/token
    V2,
    /// Keycloak's own
    Keycloak,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// An application's name and secret key
    Application,
    /// The same, under its name since 2.24
    ServiceAccount,
    /// A person's email and password: only if you can have nothing else
    Password,
    /// The login of the Run:ai CLI, version 2
    Cli,
    /// The login of a Kubernetes profile
    Kubeconfig,
    /// A token in a file
    TokenFile,
    /// The first that is found: the environment, mounted files, the CLI's login, the kubeconfig
    Discover,
}
