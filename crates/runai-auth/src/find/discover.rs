//! Searches the usual places for a control plane and credentials.

use std::path::PathBuf;

use tower_bearer::{ForeignText, auth::Origin};

use super::{env, machine::Machine};
use crate::{
    auth::Auth,
    control_plane::ControlPlane,
    credentials::{
        CliCredentials, CliFiles, ClientCredentials, Credentials, KubeconfigCredentials,
        current_oidc, present,
    },
    error::{SetupError, SetupErrorKind},
    kubeconfig::{self, KubeconfigError},
};

/// The variable that names the folder or the file with a client's id and secret.
const FILES: &str = "RUNAI_CREDENTIALS";

const ADVICE: &str = "set RUNAI_CLIENT_ID and RUNAI_CLIENT_SECRET to those of an application, mount them \
                        as the files client-id and client-secret, or run `runai login`";

impl ControlPlane {
    /// Takes the control plane that `RUNAI_BASE_URL` names, or else the Run:ai command line's
    /// `config.json`.
    ///
    /// # Errors
    ///
    /// If neither names one, or the URL is invalid.
    pub fn discover() -> Result<Self, SetupError> {
        Self::new(&url(&Machine::this())?)
    }
}

impl Credentials {
    /// Takes the first credentials that it finds, in this order:
    ///
    /// 1. the environment, as [`from_env`](Self::from_env) reads it;
    /// 2. mounted files, as [`from_files`](Self::from_files) reads them, at the path in
    ///    `RUNAI_CREDENTIALS`, else in `/var/run/secrets/runai`;
    /// 3. the login of the Run:ai command line, version 2, if it is for this control plane;
    /// 4. the kubeconfig's current context, if it logs in by OpenID Connect and its issuer is on the
    ///    control plane's origin.
    ///
    /// It runs no program and never finds a password. It logs what it chose once at info, and what it
    /// skipped at debug.
    ///
    /// # Errors
    ///
    /// If it finds nothing (the error names each place and what it lacked), or a place holds incomplete
    /// credentials.
    pub fn discover(control_plane: &ControlPlane) -> Result<Self, SetupError> {
        credentials(&Machine::this(), control_plane)
    }
}

impl Auth {
    /// Takes the control plane from `RUNAI_BASE_URL`, or else from the Run:ai command line's
    /// `config.json`, and the credentials that [`Credentials::discover`] finds.
    ///
    /// # Errors
    ///
    /// If one of them is not found, or the URL is invalid.
    pub fn discover() -> Result<Self, SetupError> {
        let control_plane = ControlPlane::discover()?;
        let credentials = Credentials::discover(&control_plane)?;
        Ok(control_plane.authenticate(credentials))
    }
}

/// The result of searching one place.
enum Finding {
    Found(Credentials),
    /// There are no credentials, for this reason.
    Nothing(String),
}

use Finding::{Found, Nothing};

type Search<'a> = &'a dyn Fn() -> Result<Finding, SetupError>;

/// Returns the first credentials found. A place with incomplete credentials is an error, because its owner
/// meant it to be used.
pub(super) fn credentials(
    machine: &Machine<'_>,
    control_plane: &ControlPlane,
) -> Result<Credentials, SetupError> {
    let mut tried = Vec::new();
    let places: [(&str, Search<'_>); 4] = [
        ("the environment", &|| environment(machine)),
        ("mounted files", &|| files(machine)),
        ("the Run:ai CLI's login", &|| cli(machine, control_plane)),
        ("the kubeconfig", &|| kubeconfig(machine, control_plane)),
    ];
    for (place, search) in places {
        match search()? {
            Found(credentials) => {
                tracing::info!(
                    place,
                    who = credentials.name(),
                    control_plane = control_plane.base(),
                    "credentials found"
                );
                return Ok(credentials);
            }
            Nothing(why) => {
                tracing::debug!(place, why, "no credentials here");
                tried.push(format!("{place}: {why}"));
            }
        }
    }
    let base = control_plane.base();
    let message = format!(
        "no credentials for {base} were found ({})",
        tried.join("; ")
    );
    Err(SetupError::new(SetupErrorKind::Credentials, message).with_advice(ADVICE))
}

/// Returns the URL of the control plane: the environment's, else that of the Run:ai CLI.
pub(super) fn url(machine: &Machine<'_>) -> Result<String, SetupError> {
    if let Some(url) = env::text(machine.lookup, env::BASE_URL)? {
        return Ok(url);
    }
    let why = match CliFiles::new(machine.lookup) {
        Some(files) => match files.control_plane() {
            Ok(url) => return Ok(url),
            Err(error) => error.message(),
        },
        None => "there is no home directory".into(),
    };
    let variable = env::BASE_URL;
    let message =
        format!("no control plane: {variable} is not set, and the Run:ai CLI names none ({why})");
    Err(SetupError::new(SetupErrorKind::Environment, message)
        .with_advice(format!("set {variable} to the control plane's URL")))
}

fn environment(machine: &Machine<'_>) -> Result<Finding, SetupError> {
    Ok(match env::if_any(machine.lookup)? {
        Some(credentials) => Found(credentials),
        None => Nothing("neither RUNAI_CLIENT_ID nor RUNAI_CLIENT_SECRET is set".into()),
    })
}

fn files(machine: &Machine<'_>) -> Result<Finding, SetupError> {
    let configured = (machine.lookup)(FILES).filter(|path| !path.is_empty());
    let path = match &configured {
        Some(path) => PathBuf::from(path),
        None => machine.mounted.to_owned(),
    };
    // A path that was configured must exist.
    if configured.is_none() && present(&path).is_empty() {
        return Ok(Nothing(format!(
            "{FILES} is not set, and {} does not exist",
            path.display()
        )));
    }
    match ClientCredentials::from_files(path) {
        Ok(client) => Ok(Found(client.into())),
        Err(error) if configured.is_some() => {
            let message = format!("{FILES} is set, but there are {}", error.message());
            let advice = error.advice().map(str::to_owned);
            let error = SetupError::new(SetupErrorKind::Credentials, message).with_source(error);
            Err(match advice {
                Some(advice) => error.with_advice(advice),
                None => error,
            })
        }
        Err(error) => Err(error),
    }
}

fn cli(machine: &Machine<'_>, control_plane: &ControlPlane) -> Result<Finding, SetupError> {
    let Some(files) = CliFiles::new(machine.lookup) else {
        return Ok(Nothing("there is no home directory".into()));
    };
    if !files.authentication.exists() {
        let path = files.authentication.display();
        return Ok(Nothing(format!("{path} does not exist")));
    }
    // A login without its control plane is incomplete.
    files.control_plane().map_err(|error| {
        let message = format!(
            "the Run:ai CLI's login is for an unknown control plane: {}",
            error.message()
        );
        SetupError::new(SetupErrorKind::Credentials, message)
            .with_advice("run `runai login`")
            .with_source(error)
    })?;
    if let Err(why) = files.is_for(control_plane) {
        return Ok(Nothing(why));
    }
    let cli = CliCredentials::new(files);
    cli.check()?;
    Ok(Found(cli.into()))
}

fn kubeconfig(machine: &Machine<'_>, control_plane: &ControlPlane) -> Result<Finding, SetupError> {
    // Its owner may have meant it for Kubernetes only, so the advice names the other places too.
    let unusable = |why: String| {
        let message = format!("the kubeconfig cannot be used: {why}");
        SetupError::new(SetupErrorKind::Credentials, message)
            .with_advice(format!("repair it, or {ADVICE}"))
    };
    let broken = |error: KubeconfigError| unusable(error.message().to_owned()).with_source(error);
    let paths = kubeconfig::paths(machine.lookup);
    if paths.is_empty() {
        let is_set = (machine.lookup)("KUBECONFIG").is_some_and(|list| !list.is_empty());
        return Ok(Nothing(match is_set {
            true => "KUBECONFIG names no file".into(),
            false => "there is no home directory".into(),
        }));
    }
    let config = kubeconfig::load(&paths).map_err(broken)?;
    if config.is_empty() {
        let looked: Vec<_> = paths.iter().map(|it| it.display().to_string()).collect();
        return Ok(Nothing(format!("there is none ({})", looked.join(", "))));
    }
    if !config.has_current_context() {
        return Ok(Nothing("it has no current context".into()));
    }
    let Some((context, oidc)) = current_oidc(&config).map_err(broken)? else {
        return Ok(Nothing(
            "its current context does not log in by OpenID Connect, and discovery uses no other login"
                .into(),
        ));
    };
    // The token must not go to a control plane that its issuer does not belong to.
    match Origin::parse(&oidc.issuer) {
        Ok(origin) if origin == *control_plane.origin() => {
            if oidc.id_token.is_none() && oidc.refresh_token.is_none() {
                return Err(unusable(format!(
                    "the login of its context {} has neither id-token nor refresh-token",
                    ForeignText::new(&context)
                )));
            }
            let kubeconfig = KubeconfigCredentials::discovered(paths, context, origin);
            Ok(Found(kubeconfig.into()))
        }
        Ok(origin) => Ok(Nothing(format!(
            "the issuer of its current context is {}",
            ForeignText::new(&origin.to_string())
        ))),
        Err(error) => Ok(Nothing(format!(
            "the issuer of its current context: {error}"
        ))),
    }
}
