//! Turns flags and variables into a control plane and credentials.

use std::{env, io::Read as _, path::Path, sync::OnceLock};

use runai_auth::{
    Auth, ControlPlane, Credentials, FileErrorKind, Secret, SecretFile, SecretText, SetupErrorKind,
    TokenEndpoint,
};

use crate::{
    failure::{Failure, capitalized},
    flags::{ConnectArgs, EndpointChoice, Method},
};

const ID: &str = "RUNAI_CLIENT_ID";
const ID_FILE: &str = "RUNAI_CLIENT_ID_FILE";
const SECRET: &str = "RUNAI_CLIENT_SECRET";
const PASSWORD: &str = "RUNAI_AUTH_PASSWORD";

/// The longest name of an application or a person, in bytes.
const LONGEST_NAME: usize = 1024;

/// The secret on the standard input, once it was read.
static STANDARD_INPUT: OnceLock<Option<SecretText>> = OnceLock::new();

/// The most that is read of the standard input: as much as of a file with a secret.
const STANDARD_INPUT_CAP: u64 = 64 * 1024;

/// Builds the control plane.
pub(crate) fn control_plane(args: &ConnectArgs) -> Result<ControlPlane, Failure> {
    let args = &args.clone().without_empty();
    let plane = match &args.base_url {
        Some(url) => ControlPlane::new(url)?,
        None => ControlPlane::discover().map_err(|error| match error.kind() {
            SetupErrorKind::Environment => Failure::usage(
                error.message(),
                "Give --base-url https://TENANT.run.ai, or set RUNAI_BASE_URL",
            ),
            _ => Failure::from(error),
        })?,
    };
    let mut plane = plane.token_endpoint(match args.token_endpoint {
        EndpointChoice::Auto => TokenEndpoint::Auto,
        EndpointChoice::V1 => TokenEndpoint::V1,
        EndpointChoice::V2 => TokenEndpoint::V2,
        EndpointChoice::Keycloak => TokenEndpoint::Keycloak,
    });
    plane = plane.user_agent(concat!("runai-auth-cli/", env!("CARGO_PKG_VERSION")))?;
    if let Some(realm) = &args.realm {
        plane = plane.realm(realm)?;
    }
    if let Some(file) = &args.ca_file {
        plane = plane.root_certificates_file(file)?;
    }
    if let (Some(chain), Some(key)) = (&args.client_cert, &args.client_key) {
        plane = plane.client_certificate_files(chain, key)?;
    }
    if args.insecure_skip_tls_verify {
        plane = plane.danger_accept_invalid_certificates();
    }
    Ok(plane.connect_timeout(args.timeout))
}

/// Picks the credentials.
pub(crate) fn credentials(
    args: &ConnectArgs,
    plane: &ControlPlane,
) -> Result<Credentials, Failure> {
    let args = &args.clone().without_empty();
    let id = client_id(args)?;
    let secret = client_secret(args)?;
    let is_client = id.is_some() || secret.is_some();
    let method = args.method.unwrap_or(match is_client {
        true => Method::Application,
        false => Method::Discover,
    });
    match method {
        Method::Application | Method::ServiceAccount => match (id, secret) {
            (Some(id), Some(secret)) => Ok(Credentials::client(id, secret).into()),
            (None, _) => Err(Failure::usage(
                "no client id is given",
                "Give --client-id, or set RUNAI_CLIENT_ID, to the application's name",
            )),
            (_, None) => Err(Failure::usage(
                "no client secret is given",
                "Give --client-secret-file, or set RUNAI_CLIENT_SECRET, to the application's secret key",
            )),
        },
        Method::Password => {
            let password = from_variable_or_file(
                PASSWORD,
                args.password_file.as_deref(),
                "RUNAI_AUTH_PASSWORD_FILE (or --password-file)",
            )?;
            match (&args.username, password) {
                (Some(name), Some(password)) => {
                    let name = checked_name("the user name", name)?;
                    Ok(Credentials::password(name, password).into())
                }
                (None, _) => Err(Failure::usage(
                    "no user name is given",
                    "Give --username, or set RUNAI_AUTH_USERNAME, to the email",
                )),
                (_, None) => Err(Failure::usage(
                    "no password is given",
                    "Give --password-file (`-` reads the standard input), or set RUNAI_AUTH_PASSWORD",
                )),
            }
        }
        Method::Cli => Ok(Credentials::cli()?.into()),
        Method::Kubeconfig => {
            let mut kubeconfig = Credentials::kubeconfig();
            if let Some(path) = &args.kubeconfig {
                kubeconfig = kubeconfig.path(path);
            }
            if let Some(context) = &args.context {
                kubeconfig = kubeconfig.context(context);
            }
            Ok(kubeconfig.into())
        }
        Method::TokenFile => match &args.token_file {
            Some(path) => {
                let name = "RUNAI_AUTH_TOKEN_FILE (or --token-file)";
                let file = secret_file(path, name, None)?;
                Ok(Credentials::token_file(file.path()))
            }
            None => Err(Failure::usage(
                "no token file is given",
                "Give --token-file, or set RUNAI_AUTH_TOKEN_FILE",
            )),
        },
        Method::Discover => Ok(Credentials::discover(plane)?),
    }
}

/// Builds the control plane with its credentials and token cache.
pub(crate) fn auth(args: &ConnectArgs) -> Result<Auth, Failure> {
    let plane = control_plane(args)?;
    let credentials = credentials(args, &plane)?;
    Ok(authenticate(args, plane, credentials))
}

/// Adds credentials and a token cache to a control plane.
pub(crate) fn authenticate(
    args: &ConnectArgs,
    plane: ControlPlane,
    credentials: Credentials,
) -> Auth {
    let timeout = args.timeout;
    plane.authenticate_with(credentials, |cache| {
        cache.attempt_timeout(timeout).refresh_timeout(3 * timeout)
    })
}

/// Returns the id from the flag, from its variable, or from the file that `RUNAI_CLIENT_ID_FILE` names.
fn client_id(args: &ConnectArgs) -> Result<Option<String>, Failure> {
    let set = |name| env::var_os(name).filter(|text| !text.is_empty());
    let file = match (&args.client_id, set(ID_FILE)) {
        (id, None) => {
            let id = id.as_deref();
            return id.map(|id| checked_name("the client id", id)).transpose();
        }
        (Some(_), Some(_)) if set(ID).is_some() => {
            return Err(Failure::usage(
                format!("both {ID} and {ID_FILE} are given"),
                "Unset one of them: it is not clear which one to use",
            ));
        }
        // A flag wins over the environment.
        (Some(id), Some(_)) => return checked_name("the client id", id).map(Some),
        (None, Some(file)) => file,
    };
    let hint = "Write the application's name into the file";
    let text = SecretFile::new(file).read().map_err(|error| {
        let hint = error.advice().map_or(hint.into(), capitalized);
        Failure::usage(format!("{ID_FILE}: {}", error.message()), hint)
    })?;
    match text.expose_secret().trim() {
        "" => Err(Failure::usage(
            format!("{ID_FILE}: the file contains no name"),
            hint,
        )),
        id => checked_name(&format!("{ID_FILE}: the client id"), id).map(Some),
    }
}

/// Returns a name without the white space at its ends. Refuses one that nobody can have: a file that was taken for
/// another, for example.
fn checked_name(what: &str, name: &str) -> Result<String, Failure> {
    let name = name.trim();
    let flaw = if name.len() > LONGEST_NAME {
        "is longer than 1 KiB"
    } else if name.contains(char::is_control) {
        "contains a line break or another control character"
    } else {
        return Ok(name.to_owned());
    };
    Err(Failure::usage(
        format!("{what} {flaw}"),
        "Give the name as the UI shows it",
    ))
}

fn client_secret(args: &ConnectArgs) -> Result<Option<Secret>, Failure> {
    from_variable_or_file(
        SECRET,
        args.client_secret_file.as_deref(),
        "RUNAI_CLIENT_SECRET_FILE (or --client-secret-file)",
    )
}

/// Returns the secret in a variable, or in a file that another variable or a flag names. Both at once is an error.
fn from_variable_or_file(
    variable: &str,
    file: Option<&Path>,
    file_name: &str,
) -> Result<Option<Secret>, Failure> {
    let value = env::var_os(variable).filter(|text| !text.is_empty());
    match (value, file) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Failure::usage(
            format!("both {variable} and {file_name} are given"),
            "Unset one of them: it is not clear which one to use",
        )),
        (Some(text), None) => match text.into_string() {
            Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).into())),
            Err(_) => Err(Failure::usage(
                format!("{variable} is not UTF-8 text"),
                "Copy it again from the UI",
            )),
        },
        (None, Some(file)) if file == Path::new("-") => Ok(Some(standard_input()?.into())),
        (None, Some(file)) => {
            let hint = "Give `-` instead of the path, to read the standard input";
            Ok(Some(secret_file(file, file_name, Some(hint))?.into()))
        }
    }
}

/// Returns a file with a secret. Reports at once what can never be read; a file that is missing may still
/// appear.
fn secret_file(
    file: &Path,
    file_name: &str,
    pipe_hint: Option<&str>,
) -> Result<SecretFile, Failure> {
    let file = SecretFile::new(file);
    let Err(error) = file.read() else {
        return Ok(file);
    };
    let hint = match (error.kind(), pipe_hint) {
        (FileErrorKind::Pipe, Some(hint)) => hint.to_owned(),
        (FileErrorKind::Pipe | FileErrorKind::NotRegular, _) => {
            error.advice().map(capitalized).unwrap_or_default()
        }
        _ => return Ok(file),
    };
    let message = format!("{file_name}: {}", error.message());
    Err(Failure::usage(message, hint))
}

/// Reads the secret from the standard input, once.
fn standard_input() -> Result<SecretText, Failure> {
    let read = STANDARD_INPUT.get_or_init(|| {
        let mut text = String::new();
        std::io::stdin()
            .take(STANDARD_INPUT_CAP + 1)
            .read_to_string(&mut text)
            .ok()
            .filter(|read| *read as u64 <= STANDARD_INPUT_CAP)?;
        let line = text.trim_end_matches(['\r', '\n']);
        (!line.is_empty()).then(|| SecretText::from(line))
    });
    read.clone().ok_or_else(|| {
        Failure::usage(
            "the standard input is empty, not UTF-8 text, or larger than 64 KiB",
            "Pipe it in: `pass show runai | runai-auth …`",
        )
    })
}
