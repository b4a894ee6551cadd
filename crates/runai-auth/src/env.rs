//! What the environment says.

use std::ffi::OsString;

use zeroize::Zeroizing;

use crate::{
    auth::Auth,
    control_plane::ControlPlane,
    credentials::Credentials,
    error::{Error, Kind},
    secret::{Secret, SecretFile, without_line_break},
};

const BASE_URL: &str = "RUNAI_BASE_URL";
const CLIENT_ID: &str = "RUNAI_CLIENT_ID";
const CLIENT_SECRET: &str = "RUNAI_CLIENT_SECRET";
const CLIENT_SECRET_FILE: &str = "RUNAI_CLIENT_SECRET_FILE";

/// The environment, so that tests can have one of their own.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

pub(crate) fn auth(lookup: Lookup<'_>) -> Result<Auth, Error> {
    let url = text(lookup, BASE_URL)?;
    let id = text(lookup, CLIENT_ID)?;
    let secret = secret(lookup)?;
    let has_secret = secret.is_some();
    let (Some(url), Some(id), Some(secret)) = (&url, &id, secret) else {
        let missing: Vec<_> = [
            (url.is_none(), BASE_URL),
            (id.is_none(), CLIENT_ID),
            (
                !has_secret,
                "RUNAI_CLIENT_SECRET (or RUNAI_CLIENT_SECRET_FILE)",
            ),
        ]
        .into_iter()
        .filter_map(|(missing, name)| missing.then_some(name))
        .collect();
        return Err(failed(format!(
            "the environment lacks {}",
            missing.join(" and ")
        )));
    };
    let credentials = match secret {
        Secret::Text(text) => Credentials::client(id.as_str(), text.as_str()),
        Secret::File(file) => Credentials::with_file(id.as_str(), file),
    };
    Ok(ControlPlane::new(url)?.authenticate(credentials))
}

fn failed(message: impl Into<String>) -> Error {
    Error::new(Kind::Environment, message)
}

/// A variable's text; an empty one counts as missing, as shells make them.
fn text(lookup: Lookup<'_>, name: &str) -> Result<Option<String>, Error> {
    match lookup(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text).filter(|text| !text.trim().is_empty())),
        Some(Err(_)) => Err(failed(format!("{name} is not UTF-8 text"))),
    }
}

fn secret(lookup: Lookup<'_>) -> Result<Option<Secret>, Error> {
    let given = text(lookup, CLIENT_SECRET)?.map(Zeroizing::new);
    let Some(path) = lookup(CLIENT_SECRET_FILE).filter(|path| !path.is_empty()) else {
        return Ok(
            given.map(|text| Secret::Text(Zeroizing::new(without_line_break(&text).to_owned())))
        );
    };
    if given.is_some() {
        return Err(failed(format!(
            "both {CLIENT_SECRET} and {CLIENT_SECRET_FILE} are there: which one counts? Unset one"
        )));
    }
    let file = SecretFile::new(path);
    // It is read at each fetch; that it is wrong from the start is said at once.
    match file.read() {
        Ok(_) => Ok(Some(Secret::File(file))),
        Err(error) => Err(failed(format!("{CLIENT_SECRET_FILE}: {error}")).with_source(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn with(vars: &[(&str, &str)]) -> Result<String, String> {
        let lookup = |name: &str| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        };
        let auth = auth(&lookup).map_err(|error| error.to_string())?;
        Ok(auth.control_plane().base())
    }

    #[test]
    fn three_variables_are_enough() {
        let vars = [
            (BASE_URL, "acme.run.ai"),
            (CLIENT_ID, "ci-bot"),
            (CLIENT_SECRET, "s3cr3t"),
        ];
        assert_eq!(with(&vars).unwrap(), "https://acme.run.ai");
    }

    #[test]
    fn all_that_is_missing_is_named_at_once() {
        let error = with(&[(CLIENT_ID, "ci-bot"), (BASE_URL, " ")]).unwrap_err();
        assert_eq!(
            error,
            "the environment lacks RUNAI_BASE_URL and RUNAI_CLIENT_SECRET (or \
             RUNAI_CLIENT_SECRET_FILE)"
        );
    }

    #[test]
    fn a_secret_comes_from_a_file_or_from_the_variable_but_not_from_both() {
        let path = std::env::temp_dir().join(format!("runai-auth-secret-{}", std::process::id()));
        let file = path.to_str().unwrap();
        let vars = [
            (BASE_URL, "acme.run.ai"),
            (CLIENT_ID, "ci-bot"),
            (CLIENT_SECRET_FILE, file),
        ];
        assert!(with(&vars).unwrap_err().contains("cannot be read"));
        fs::write(&path, "\n").unwrap();
        assert!(with(&vars).unwrap_err().contains("is empty"));
        fs::write(&path, "s3cr3t \r\n").unwrap();
        let lookup = |name: &str| (name == CLIENT_SECRET_FILE).then(|| OsString::from(file));
        let Some(Secret::File(found)) = secret(&lookup).unwrap() else {
            panic!("the secret is in a file");
        };
        assert_eq!(found.read().unwrap().as_str(), "s3cr3t ");
        assert!(format!("{found:?}").contains(file) && !format!("{found:?}").contains("s3cr3t"));
        let both = [vars[0], vars[1], vars[2], (CLIENT_SECRET, "s3cr3t")];
        let error = with(&both).unwrap_err();
        assert!(
            error.contains("both") && !error.contains("s3cr3t"),
            "{error}"
        );
        fs::remove_file(path).unwrap();
    }
}
