//! Credentials that are found where they usually lie.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{
    control_plane::ControlPlane,
    credentials::{
        CliCredentials, ClientCredentials, Credentials, KubeconfigCredentials, Places,
        current_oidc, present,
    },
    env::{self, Lookup},
    error::{Error, Kind},
    kubeconfig,
};
use tower_bearer::auth::Origin;

/// Names the folder or the file of a client's id and secret.
const FILES: &str = "RUNAI_CREDENTIALS";

/// Where a secret is mounted if nothing else is said.
const MOUNTED: &str = "/var/run/secrets/runai";

const WAYS_OUT: &str = "set RUNAI_CLIENT_ID and RUNAI_CLIENT_SECRET to those of an application, mount them \
                        as the files client-id and client-secret, or run `runai login`";

/// A machine as discovery sees it, so that tests can have one of their own.
pub(crate) struct Machine<'a> {
    pub(crate) lookup: Lookup<'a>,
    pub(crate) mounted: &'a Path,
}

impl Machine<'_> {
    /// This one.
    pub(crate) fn this() -> Self {
        Self {
            lookup: &|name| std::env::var_os(name),
            mounted: Path::new(MOUNTED),
        }
    }
}

/// What was found at a place: credentials, or why there are none.
type Found = Result<Credentials, String>;

type Look<'a> = &'a dyn Fn() -> Result<Found, Error>;

/// The credentials that are found first. A place that has half of what it should is an error, since its
/// owner meant it to count.
pub(crate) fn credentials(
    machine: &Machine<'_>,
    control_plane: &ControlPlane,
) -> Result<Credentials, Error> {
    let mut tried = Vec::new();
    let places: [(&str, Look<'_>); 4] = [
        ("the environment", &|| environment(machine)),
        ("mounted files", &|| files(machine)),
        ("the Run:ai CLI's login", &|| cli(machine, control_plane)),
        ("the kubeconfig", &|| kubeconfig(machine, control_plane)),
    ];
    for (place, look) in places {
        match look()? {
            Ok(credentials) => {
                tracing::info!(
                    place,
                    who = credentials.login.who().name,
                    control_plane = control_plane.base(),
                    "credentials found"
                );
                return Ok(credentials);
            }
            Err(why) => {
                tracing::debug!(place, why, "no credentials here");
                tried.push(format!("{place}: {why}"));
            }
        }
    }
    Err(Error::new(
        Kind::Credentials,
        format!(
            "no credentials for {} were found ({}): {WAYS_OUT}",
            control_plane.base(),
            tried.join("; ")
        ),
    ))
}

/// The URL of the control plane: the environment's, else that of the Run:ai CLI.
pub(crate) fn url(machine: &Machine<'_>) -> Result<String, Error> {
    if let Some(url) = env::text(machine.lookup, env::BASE_URL)? {
        return Ok(url);
    }
    let why = match Places::new(machine.lookup) {
        Some(places) => match places.control_plane() {
            Ok(url) => return Ok(url),
            Err(error) => error.message(),
        },
        None => "there is no home directory".into(),
    };
    Err(Error::new(
        Kind::Environment,
        format!(
            "which control plane? {} is not set, and the Run:ai CLI does not say ({why}): set {} to its \
             URL",
            env::BASE_URL,
            env::BASE_URL
        ),
    ))
}

fn environment(machine: &Machine<'_>) -> Result<Found, Error> {
    let found = env::if_any(machine.lookup)?;
    Ok(found.ok_or_else(|| "neither RUNAI_CLIENT_ID nor RUNAI_CLIENT_SECRET is set".into()))
}

fn files(machine: &Machine<'_>) -> Result<Found, Error> {
    let told = (machine.lookup)(FILES).filter(|path| !path.is_empty());
    let path = match &told {
        Some(path) => PathBuf::from(path),
        None => machine.mounted.to_owned(),
    };
    // What was named must be there.
    if told.is_none() && present(&path).is_empty() {
        return Ok(Err(format!(
            "{FILES} is not set, and {} is not there",
            path.display()
        )));
    }
    match ClientCredentials::from_files(path) {
        Ok(client) => Ok(Ok(client.into())),
        Err(error) if told.is_some() => Err(Error::new(
            Kind::Credentials,
            format!("{FILES} is set, but there are {error}"),
        )
        .with_source(error)),
        Err(error) => Err(error),
    }
}

fn cli(machine: &Machine<'_>, control_plane: &ControlPlane) -> Result<Found, Error> {
    let Some(places) = Places::new(machine.lookup) else {
        return Ok(Err("there is no home directory".into()));
    };
    if !places.authentication.exists() {
        return Ok(Err(format!(
            "{} is not there",
            places.authentication.display()
        )));
    }
    // A login whose control plane is not known is half of one.
    places.control_plane().map_err(|error| {
        Error::new(
            Kind::Credentials,
            format!("the Run:ai CLI's login is for an unknown control plane: {error}"),
        )
        .with_source(error)
    })?;
    if let Err(why) = places.is_for(control_plane) {
        return Ok(Err(why));
    }
    let cli = CliCredentials::new(places);
    cli.check()?;
    Ok(Ok(cli.into()))
}

fn kubeconfig(machine: &Machine<'_>, control_plane: &ControlPlane) -> Result<Found, Error> {
    // Its owner may have meant it for Kubernetes alone, so the other ways are told too.
    let unusable = |why: &dyn fmt::Display| {
        Error::new(
            Kind::Credentials,
            format!("the kubeconfig cannot be used: {why}; mend it, or {WAYS_OUT}"),
        )
    };
    let broken = |error: kubeconfig::Error| unusable(&error).with_source(error);
    let paths = kubeconfig::paths(machine.lookup);
    if paths.is_empty() {
        let is_told = (machine.lookup)("KUBECONFIG").is_some_and(|list| !list.is_empty());
        return Ok(Err(match is_told {
            true => "KUBECONFIG names no file".into(),
            false => "there is no home directory".into(),
        }));
    }
    let config = kubeconfig::load(&paths).map_err(broken)?;
    if config.is_empty() {
        let looked: Vec<_> = paths.iter().map(|it| it.display().to_string()).collect();
        return Ok(Err(format!("there is none ({})", looked.join(", "))));
    }
    if !config.has_current_context() {
        return Ok(Err("it has no current context".into()));
    }
    let Some((context, oidc)) = current_oidc(&config).map_err(broken)? else {
        return Ok(Err(
            "its current context does not log in by OpenID Connect, which is all that is looked for \
             here"
            .into(),
        ));
    };
    // A token must not go to a control plane that its issuer is not part of.
    match Origin::parse(&oidc.issuer) {
        Ok(origin) if origin == *control_plane.origin() => {
            if oidc.id_token.is_none() && oidc.refresh_token.is_none() {
                return Err(unusable(&format_args!(
                    "the login of its context `{context}` has neither id-token nor refresh-token"
                )));
            }
            Ok(Ok(
                KubeconfigCredentials::found(paths, context, origin).into()
            ))
        }
        Ok(origin) => Ok(Err(format!(
            "the issuer of its current context is {origin}"
        ))),
        Err(error) => Ok(Err(format!("the issuer of its current context: {error}"))),
    }
}

#[cfg(test)]
mod tests;
