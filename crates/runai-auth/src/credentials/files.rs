//! A client's id and secret in files.

use std::{
    collections::BTreeMap,
    fs, io,
    mem::take,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tower_bearer::oauth2::SecretText;
use zeroize::Zeroizing;

use crate::files::{FileError, FileKind, Watched, read_line, read_text};

const ID: &str = "client-id";
const SECRET: &str = "client-secret";

/// The id and the secret in a folder or a file.
pub(super) fn pair(path: &Path) -> Watched<(String, SecretText)> {
    let path = path.to_owned();
    Watched::new(move || match path.is_dir() {
        true => {
            let id = read_line(&path.join(ID), FileKind::Secret)?;
            let mut secret = read_line(&path.join(SECRET), FileKind::Secret)?;
            Ok((id.trim().to_owned(), take(&mut *secret).into()))
        }
        false => parsed(&path),
    })
}

/// The files that [`pair`] would read of a folder, and of them those that are there.
pub(crate) fn present(path: &Path) -> Vec<PathBuf> {
    let inside = [path.join(ID), path.join(SECRET)];
    match path.is_dir() {
        true => inside.into_iter().filter(|file| is_there(file)).collect(),
        false => Some(path.to_owned())
            .filter(|file| is_there(file))
            .into_iter()
            .collect(),
    }
}

/// Whether a file is there. One that is, but cannot be reached, was meant to count all the same.
fn is_there(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(_) => true,
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ),
    }
}

fn parsed(path: &Path) -> Result<(String, SecretText), FileError> {
    let text = read_text(path, FileKind::Credentials)?;
    let mut values = match text.trim_start().starts_with('{') {
        true => json(&text)
            .ok_or_else(|| FileError::new(path, "is not a JSON object, but begins like one"))?,
        false => lines(&text),
    };
    let mut value = |names: [&str; 2]| names.iter().find_map(|name| values.remove(*name));
    let id = value(["clientid", "appid"]);
    let secret = value(["clientsecret", "appsecret"]);
    match (id, secret) {
        (Some(id), Some(mut secret)) => Ok((id.to_string(), take(&mut *secret).into())),
        (id, secret) => {
            let missing: Vec<_> = [
                (id.is_none(), "client id"),
                (secret.is_none(), "client secret"),
            ]
            .into_iter()
            .filter_map(|(missing, name)| missing.then_some(name))
            .collect();
            Err(FileError::new(
                path,
                format!("has no {}", missing.join(" and no ")),
            ))
        }
    }
}

type Values = BTreeMap<String, Zeroizing<String>>;

fn json(text: &str) -> Option<Values> {
    let Ok(Value::Object(object)) = serde_json::from_str(text) else {
        return None;
    };
    let texts = object.into_iter().filter_map(|(name, value)| match value {
        Value::String(text) => Some((plain(&name), Zeroizing::new(text))),
        _ => None,
    });
    Some(texts.filter(|(_, text)| !text.is_empty()).collect())
}

/// Lines as shells and systemd read them: `NAME=value`, quotes around a value, `#` before a remark,
/// `export` before a name.
fn lines(text: &str) -> Values {
    let mut values = Values::new();
    for line in text.lines() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let value = value.trim();
        let unquoted = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        let value = unquoted.unwrap_or(value);
        if !line.starts_with('#') && !value.is_empty() {
            values.insert(plain(name), Zeroizing::new(value.to_owned()));
        }
    }
    values
}

/// `RUNAI_CLIENT_ID`, `client-id` and `clientId` are one name.
fn plain(name: &str) -> String {
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    match plain.strip_prefix("runai") {
        Some(rest) => rest.to_owned(),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::{TempDir, tempdir};

    fn write(folder: &TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn read(path: PathBuf) -> Result<(String, String), String> {
        let pair = pair(&path).read().map_err(|error| error.to_string())?;
        Ok((pair.0, pair.1.expose_secret().to_owned()))
    }

    #[test]
    fn a_folder_as_kubernetes_mounts_it() {
        let folder = tempdir().unwrap();
        let error = read(folder.path().to_owned()).unwrap_err();
        assert!(error.contains("client-id does not exist"), "{error}");
        write(&folder, "client-id", "ci-bot\n");
        let error = read(folder.path().to_owned()).unwrap_err();
        assert!(error.contains("client-secret does not exist"), "{error}");
        write(&folder, "client-secret", " s3=cr\"3t \n");
        let read = read(folder.path().to_owned()).unwrap();
        assert_eq!(read, ("ci-bot".into(), " s3=cr\"3t ".into()));
    }

    #[test]
    fn one_file_as_an_agent_writes_it() {
        let folder = tempdir().unwrap();
        for text in [
            r#"{"clientId": "ci-bot", "clientSecret": "a=b"}"#,
            r#" {"AppId": "ci-bot", "AppSecret": "a=b", "grantType": "app_token", "n": 1}"#,
            "\u{feff}{\"clientId\": \"ci-bot\", \"clientSecret\": \"a=b\"}",
            "RUNAI_CLIENT_ID=ci-bot\nRUNAI_CLIENT_SECRET=a=b\n",
            "# from the vault\nexport client_id = 'ci-bot'\r\nclient_secret=\"a=b\"\r\n\n[x]\n",
        ] {
            let read = read(write(&folder, "file", text)).unwrap();
            assert_eq!(read, ("ci-bot".into(), "a=b".into()), "{text}");
        }
    }

    #[test]
    fn what_is_missing_in_a_file_is_named_and_nothing_of_it_shown() {
        let folder = tempdir().unwrap();
        for (text, says) in [
            (
                "{\"clientSecret\": \"s3cr3t\"",
                "is not a JSON object, but begins like one",
            ),
            ("{\"clientSecret\": \"s3cr3t\"}", "has no client id"),
            ("CLIENT_ID=s3cr3t", "has no client secret"),
            (
                "#CLIENT_ID=s3cr3t\ns3cr3t",
                "has no client id and no client secret",
            ),
            ("CLIENT_ID=\nCLIENT_SECRET=s3cr3t", "has no client id"),
            ("\n", "is empty"),
        ] {
            let error = read(write(&folder, "file", text)).unwrap_err();
            assert!(error.ends_with(says) || error.contains(says), "{error}");
            assert!(!error.contains("s3cr3t"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_there_and_cannot_be_reached_is_not_passed_over() {
        let folder = tempdir().unwrap();
        write(&folder, "file", "");
        let path = folder.path().join("loop");
        std::os::unix::fs::symlink("loop", &path).unwrap();
        assert_eq!(present(&path), [path]);
        for absent in ["nothing", "file/below"] {
            assert!(present(&folder.path().join(absent)).is_empty(), "{absent}");
        }
    }
}
