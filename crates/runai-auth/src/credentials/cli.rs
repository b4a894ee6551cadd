//! The login of the Run:ai command line, version 2: `~/.runai`.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::Value;
use tower_bearer::{FetchContext, ForeignText, SourceError, auth::Origin, oauth2::SecretText};
use zeroize::Zeroizing;

use super::{
    credential::{Credential, Credentials, Fetching},
    stored_login::{Encoding, StoredLogin, StoredSecret, StoredTokens},
};
use crate::{
    control_plane::ControlPlane,
    error::{SetupError, SetupErrorKind},
    exchange::{Exchange, Grant, Subject},
    files::{FileError, FileKind, read_text, shown_path},
};

/// With or without padding.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const ADVICE: &str = "run `runai login`";

/// The client id of the command line.
const CLIENT_ID: &str = "cli";

/// The login of the Run:ai command line, version 2. [`Credentials::cli`] makes it.
#[derive(Clone, Debug)]
pub struct CliCredentials {
    files: CliFiles,
    login: StoredLogin,
    redeems: bool,
}

/// The paths of the command line's files.
#[derive(Clone, Debug)]
pub(crate) struct CliFiles {
    pub(crate) authentication: PathBuf,
    pub(crate) config: PathBuf,
}

impl Credentials {
    /// Takes the login of the Run:ai command line, version 2 (`runai login`), for a program on a person's
    /// own machine. It may do all that the person may.
    ///
    /// Its files, `authentication.json` and `config.json`, are in `~/.runai` or in the folder that
    /// `RUNAI_CLI_CONFIG_PATH` names (`RUNAI_CLI_CONFIG_FILE` names the second file). They are read again
    /// when they change. A login for another control plane is not used. The token lives about a day; then
    /// an error says to run `runai login`, unless
    /// [`redeem_refresh_token`](CliCredentials::redeem_refresh_token) was called.
    ///
    /// # Errors
    ///
    /// If there is no home directory.
    pub fn cli() -> Result<CliCredentials, SetupError> {
        let files = CliFiles::new(&|name| std::env::var_os(name)).ok_or_else(|| {
            let message = "there is no home directory, and RUNAI_CLI_CONFIG_PATH is not set";
            SetupError::new(SetupErrorKind::Environment, message)
        })?;
        Ok(CliCredentials::new(files))
    }

    /// Does the same as [`cli`](Self::cli), with the files in this folder.
    pub fn cli_in(folder: impl Into<PathBuf>) -> CliCredentials {
        CliCredentials::new(CliFiles::in_folder(folder.into()))
    }
}

impl CliFiles {
    /// Follows the command line's variables, else `~/.runai`. `lookup` reads a variable.
    pub(crate) fn new(lookup: &dyn Fn(&str) -> Option<OsString>) -> Option<Self> {
        let variable = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let home = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
        let folder = variable("RUNAI_CLI_CONFIG_PATH")
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(&variable(home)?).join(".runai")))?;
        let config = variable("RUNAI_CLI_CONFIG_FILE");
        let config = config.unwrap_or_else(|| OsString::from("config.json"));
        Some(Self {
            authentication: folder.join("authentication.json"),
            config: folder.join(config),
        })
    }

    fn in_folder(folder: PathBuf) -> Self {
        Self {
            authentication: folder.join("authentication.json"),
            config: folder.join("config.json"),
        }
    }

    /// Returns the URL of the control plane that the login is for.
    pub(crate) fn control_plane(&self) -> Result<String, FileError> {
        let missing = || FileError::new(&self.config, "names no control plane");
        let value = object(&self.config, &read_text(&self.config, FileKind::Settings)?)?;
        let nested = value.get("control_plane").and_then(|it| it.get("url"));
        let url = nested.or_else(|| value.get("control_plane.url"));
        url.and_then(Value::as_str)
            .filter(|url| !url.trim().is_empty())
            .map(str::to_owned)
            .ok_or_else(missing)
    }

    /// Checks that the login is for this control plane. The error says which one it is for.
    pub(crate) fn is_for(&self, control_plane: &ControlPlane) -> Result<(), String> {
        let url = self.control_plane().map_err(|error| error.message())?;
        let with_scheme = match url.contains("://") {
            true => url,
            false => format!("https://{url}"),
        };
        match Origin::parse(&with_scheme) {
            Ok(origin) if origin == *control_plane.origin() => Ok(()),
            Ok(origin) => Err(format!(
                "its control plane is {}",
                ForeignText::new(&origin.to_string())
            )),
            Err(error) => Err(format!("its control plane's URL is invalid: {error}")),
        }
    }
}

impl CliCredentials {
    pub(crate) fn new(files: CliFiles) -> Self {
        let path = files.authentication.clone();
        Self {
            files,
            login: StoredLogin::new(move || stored_tokens(&path)),
            redeems: false,
        }
    }

    /// Redeems the login's refresh token when its token has expired, and writes the new tokens back, so
    /// that the command line uses them too. The refresh token belongs to the command line: two programs
    /// that redeem it at the same time may end the person's session.
    ///
    /// Defaults to not redeeming it: when the token expires, an error says that a person must log in.
    #[must_use]
    pub fn redeem_refresh_token(mut self) -> Self {
        self.redeems = true;
        self
    }
}

impl CliCredentials {
    /// Reports at once what the first fetch would report later.
    pub(crate) fn check(&self) -> Result<(), SetupError> {
        stored_tokens(&self.files.authentication)
            .map(drop)
            .map_err(|error| {
                let message = format!("the Run:ai CLI's login cannot be used: {}", error.message());
                SetupError::new(SetupErrorKind::Credentials, message)
                    .with_advice(ADVICE)
                    .with_source(error)
            })
    }
}

/// Reads the login in `authentication.json`.
fn stored_tokens(path: &Path) -> Result<StoredTokens, FileError> {
    let value = object(path, &read_text(path, FileKind::Login)?)?;
    let secret = |name: &str| {
        let text = value.get(name)?.as_str()?;
        (!text.is_empty()).then(|| stored_secret(text))
    };
    let token = secret("accessToken");
    if token.is_none() {
        return Err(FileError::new(path, "has no accessToken"));
    }
    Ok(StoredTokens {
        file: path.to_owned(),
        identity: String::new(),
        token,
        refresh_token: secret("refreshToken"),
    })
}

/// Decodes a token. It is the base64url of its text, or, if it has dots, the text itself.
fn stored_secret(written: &str) -> StoredSecret {
    let decoded = URL_SAFE.decode(written).ok().map(Zeroizing::new);
    let text = decoded.and_then(|bytes| {
        let text = std::str::from_utf8(&bytes).ok()?;
        let is_text = text.bytes().all(|byte| byte.is_ascii_graphic());
        is_text.then(|| SecretText::from(text))
    });
    StoredSecret {
        written: written.into(),
        encoding: match text {
            Some(_) => Encoding::Base64Url,
            None => Encoding::Plain,
        },
        text: text.unwrap_or_else(|| written.into()),
    }
}

fn object(path: &Path, text: &str) -> Result<Value, FileError> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        _ => Err(FileError::new(path, "is not a JSON object")),
    }
}

impl Credential for CliCredentials {
    fn subject(&self) -> Subject {
        Subject {
            name: format!(
                "the login of the Run:ai CLI in {}",
                shown_path(&self.files.authentication)
            ),
            advice: ADVICE,
            single_use: true,
        }
    }

    fn epoch(&self) -> u64 {
        self.login.epoch()
    }

    fn is_given(&self) -> bool {
        !self.redeems
    }

    fn known_secrets(&self) -> Vec<SecretText> {
        self.login.known_secrets()
    }

    fn fetch<'a>(&'a self, exchange: &'a Arc<Exchange>, cx: &'a FetchContext) -> Fetching<'a> {
        Box::pin(async move {
            let subject = self.subject();
            let check_control_plane = {
                let (files, exchange, name) =
                    (self.files.clone(), exchange.clone(), subject.name.clone());
                Arc::new(move || {
                    let control_plane = exchange.control_plane();
                    files.is_for(control_plane).map_err(|why| {
                        let base = control_plane.base();
                        SourceError::invalid_credentials(format!("{name} is not for {base}: {why}"))
                            .with_advice(format!("{ADVICE} for {base}"))
                    })
                })
            };
            check_control_plane()?;
            let send = {
                let (exchange, subject) = (exchange.clone(), subject.clone());
                let check_control_plane = check_control_plane.clone();
                move |token: SecretText| {
                    let (exchange, subject) = (exchange.clone(), subject.clone());
                    let check_control_plane = check_control_plane.clone();
                    async move {
                        // The person may have logged in to another control plane meanwhile.
                        check_control_plane()?;
                        let client_id = CLIENT_ID.into();
                        let grant = Grant::Refresh { token, client_id };
                        exchange.issue(&grant, &subject).await
                    }
                }
            };
            let token = self
                .login
                .fetch(&subject, "", self.redeems, cx, send)
                .await?;
            check_control_plane()?;
            Ok(token)
        })
    }
}

impl From<CliCredentials> for Credentials {
    fn from(cli: CliCredentials) -> Self {
        Self::new(cli)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_base64url_of_its_text_or_the_text() {
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjF9.c2ln";
        // Its length leads to one character of padding.
        let padded = URL_SAFE.encode(jwt);
        for written in [padded.as_str(), padded.trim_end_matches('='), jwt] {
            let stored = stored_secret(written);
            assert_eq!(stored.text.expose_secret(), jwt, "{written}");
            let plain = stored.encoding == Encoding::Plain;
            assert_eq!(plain, written == jwt);
        }
    }

    #[test]
    fn a_login_is_for_one_control_plane() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().as_os_str().to_owned();
        let lookup = |name: &str| (name == "RUNAI_CLI_CONFIG_PATH").then(|| home.clone());
        let files = CliFiles::new(&lookup).unwrap();
        let ours = ControlPlane::new("https://acme.run.ai").unwrap();
        for (config, says) in [
            (r#"{"control_plane":{"url":"https://acme.run.ai/"}}"#, None),
            (r#"{"control_plane":{"url":"ACME.run.ai"}}"#, None),
            (r#"{"control_plane.url":"https://acme.run.ai:443"}"#, None),
            (
                r#"{"control_plane":{"url":"https://acme.run.ai.evil.example"}}"#,
                Some("its control plane is \"https://acme.run.ai.evil.example\""),
            ),
            (
                r#"{"control_plane":{"url":"http://acme.run.ai"}}"#,
                Some("http://acme.run.ai"),
            ),
            (r#"{"control_plane":{}}"#, Some("names no control plane")),
            (r#"{"control_plane":"#, Some("is not a JSON object")),
        ] {
            std::fs::write(folder.path().join("config.json"), config).unwrap();
            match (files.is_for(&ours), says) {
                (Ok(()), None) => {}
                (Err(error), Some(says)) => assert!(error.contains(says), "{error}"),
                (found, _) => panic!("{config}: {found:?}"),
            }
        }
    }
}
