//! A control plane and credentials from environment variables.

use std::ffi::OsString;

use zeroize::Zeroizing;

use super::machine::Lookup;
use crate::{
    auth::Auth,
    control_plane::ControlPlane,
    credentials::{ClientCredentials, Credentials},
    error::{SetupError, SetupErrorKind},
    files::without_line_break,
    secret::Secret,
};

pub(super) const BASE_URL: &str = "RUNAI_BASE_URL";
const CLIENT_ID: [&str; 2] = ["RUNAI_CLIENT_ID", "RUNAI_CLIENT_ID_FILE"];
const CLIENT_SECRET: [&str; 2] = ["RUNAI_CLIENT_SECRET", "RUNAI_CLIENT_SECRET_FILE"];

impl Auth {
    /// Takes the control plane and the credentials from the environment: `RUNAI_BASE_URL`,
    /// `RUNAI_CLIENT_ID` and `RUNAI_CLIENT_SECRET`. The latter two may instead be in files that
    /// `RUNAI_CLIENT_ID_FILE` and `RUNAI_CLIENT_SECRET_FILE` name, and that may be rotated. One line break
    /// at a file's end is not part of the value.
    ///
    /// # Errors
    ///
    /// If a variable is missing, empty or not text, a value is set in both ways, a file cannot be read, or
    /// the URL is invalid. One error names everything that is missing.
    pub fn from_env() -> Result<Self, SetupError> {
        auth(&|name| std::env::var_os(name))
    }
}

impl Credentials {
    /// Takes a client's id and secret from the environment: `RUNAI_CLIENT_ID` and `RUNAI_CLIENT_SECRET`.
    /// Each may instead be in a file that `…_FILE` names, and that may be rotated.
    ///
    /// # Errors
    ///
    /// If a variable is missing, empty or not text, a value is set in both ways, or a file cannot be read.
    /// One error names everything that is missing.
    pub fn from_env() -> Result<Self, SetupError> {
        let lookup: Lookup<'_> = &|name| std::env::var_os(name);
        match pair(lookup)? {
            Pair::Both(credentials) => Ok(credentials),
            pair => Err(lacks(false, &pair)),
        }
    }
}

fn auth(lookup: Lookup<'_>) -> Result<Auth, SetupError> {
    let url = text(lookup, BASE_URL)?;
    match (url, pair(lookup)?) {
        (Some(url), Pair::Both(credentials)) => {
            Ok(ControlPlane::new(&url)?.authenticate(credentials))
        }
        (url, pair) => Err(lacks(url.is_none(), &pair)),
    }
}

/// Returns the credentials of the environment, if any of their variables is set.
pub(super) fn if_any(lookup: Lookup<'_>) -> Result<Option<Credentials>, SetupError> {
    match pair(lookup)? {
        Pair::Both(credentials) => Ok(Some(credentials)),
        Pair::Lacks {
            id: true,
            secret: true,
        } => Ok(None),
        pair => Err(lacks(false, &pair)),
    }
}

/// A client's id and secret, or which of them is missing.
enum Pair {
    Both(Credentials),
    Lacks { id: bool, secret: bool },
}

fn pair(lookup: Lookup<'_>) -> Result<Pair, SetupError> {
    let id = value(lookup, CLIENT_ID)?;
    let secret = value(lookup, CLIENT_SECRET)?;
    let (Some(id), Some(secret)) = (&id, &secret) else {
        let (id, secret) = (id.is_none(), secret.is_none());
        return Ok(Pair::Lacks { id, secret });
    };
    let secret = match secret {
        Value::Text(text) => Secret::from(without_line_break(text)),
        Value::File(file) => file.clone(),
    };
    Ok(Pair::Both(match id {
        Value::Text(id) => Credentials::client(id.trim(), secret).into(),
        Value::File(id) => ClientCredentials::with_id_in_file(id.clone(), secret).into(),
    }))
}

fn lacks(url: bool, pair: &Pair) -> SetupError {
    let (id, secret) = match pair {
        Pair::Both(_) => (false, false),
        Pair::Lacks { id, secret } => (*id, *secret),
    };
    let missing: Vec<_> = [
        (url, BASE_URL.to_owned()),
        (id, CLIENT_ID.join(" (or ") + ")"),
        (secret, CLIENT_SECRET.join(" (or ") + ")"),
    ]
    .into_iter()
    .filter_map(|(missing, name)| missing.then_some(name))
    .collect();
    let missing = missing.join(" and ");
    failed(format!("the environment lacks {missing}")).with_advice("set what is missing")
}

fn failed(message: impl Into<String>) -> SetupError {
    SetupError::new(SetupErrorKind::Environment, message)
}

/// Returns a variable's text. An empty one counts as missing, because shells set such.
pub(super) fn text(lookup: Lookup<'_>, name: &str) -> Result<Option<String>, SetupError> {
    match lookup(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text).filter(|text| !text.trim().is_empty())),
        Some(Err(_)) => Err(failed(format!("{name} is not UTF-8 text"))),
    }
}

enum Value {
    Text(Zeroizing<String>),
    File(Secret),
}

/// Returns the text of a variable, or the file that another variable names.
fn value(lookup: Lookup<'_>, [name, file_name]: [&str; 2]) -> Result<Option<Value>, SetupError> {
    let text = text(lookup, name)?.map(Zeroizing::new);
    let Some(path) = lookup(file_name).filter(|path| !path.is_empty()) else {
        return Ok(text.map(Value::Text));
    };
    if text.is_some() {
        let message = format!("both {name} and {file_name} are set");
        return Err(failed(message).with_advice("unset one of them"));
    }
    let file = Secret::file(path);
    // Each fetch reads the file. This reports at once what the first fetch would report later.
    match file.check() {
        Ok(()) => Ok(Some(Value::File(file))),
        Err(error) => Err(failed(format!("{file_name}: {}", error.message())).with_file(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(vars: &[(&str, &str)]) -> Result<Auth, String> {
        let lookup = |name: &str| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        };
        auth(&lookup).map_err(|error| error.to_string())
    }

    const URL: (&str, &str) = (BASE_URL, "acme.run.ai");
    const ID: (&str, &str) = (CLIENT_ID[0], "ci-bot");

    #[test]
    fn three_variables_are_enough() {
        let auth = with(&[URL, ID, (CLIENT_SECRET[0], "s3cr3t")]).unwrap();
        assert_eq!(auth.control_plane().base(), "https://acme.run.ai");
    }

    #[test]
    fn one_error_names_everything_that_is_missing() {
        let error = with(&[ID, (BASE_URL, " ")]).unwrap_err();
        assert_eq!(
            error,
            "the environment lacks RUNAI_BASE_URL and RUNAI_CLIENT_SECRET (or \
             RUNAI_CLIENT_SECRET_FILE): set what is missing"
        );
    }

    #[test]
    fn each_value_comes_from_a_file_or_from_the_variable_but_not_from_both() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let file = (CLIENT_SECRET[1], path.to_str().unwrap());
        let vars = [URL, ID, file];
        assert!(with(&vars).unwrap_err().contains("does not exist"));
        std::fs::write(&path, "\n").unwrap();
        assert!(with(&vars).unwrap_err().contains("is empty"));
        std::fs::write(&path, "s3cr3t \r\n").unwrap();
        assert!(with(&vars).is_ok());
        let error = with(&[URL, ID, file, (CLIENT_SECRET[0], "s3cr3t")]).unwrap_err();
        assert!(
            error.contains("both") && !error.contains("s3cr3t"),
            "{error}"
        );
        let both_in_files = [URL, (CLIENT_ID[1], file.1), file];
        assert!(with(&both_in_files).is_ok());
    }
}
