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
use tower_bearer::{FetchContext, SourceError, auth::Origin, oauth2::SecretText};
use zeroize::Zeroizing;

use super::{
    Credentials, Fetching, Login, Who,
    kept::{Kept, KeptLogin, Stored, Writing},
};
use crate::{
    control_plane::ControlPlane,
    env::Lookup,
    error::{Error, Kind},
    exchange::Exchange,
    files::{FileError, FileKind, read_text},
    grant::Grant,
};

/// Padding may be there or not.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const ADVICE: &str = "run `runai login`";

/// The client of the command line.
const CLIENT_ID: &str = "cli";

/// The login of the Run:ai command line, version 2: what [`Credentials::cli`] makes.
#[derive(Clone, Debug)]
pub struct CliCredentials {
    places: Places,
    login: KeptLogin,
    redeems: bool,
}

/// Where its files are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) authentication: PathBuf,
    pub(crate) config: PathBuf,
}

impl Places {
    /// As its variables say, else in `~/.runai`.
    pub(crate) fn new(lookup: Lookup<'_>) -> Option<Self> {
        let told = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let home = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
        let folder = told("RUNAI_CLI_CONFIG_PATH")
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(&told(home)?).join(".runai")))?;
        let config = told("RUNAI_CLI_CONFIG_FILE");
        let config = config.unwrap_or_else(|| OsString::from("config.json"));
        Some(Self {
            authentication: folder.join("authentication.json"),
            config: folder.join(config),
        })
    }

    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self {
            authentication: folder.join("authentication.json"),
            config: folder.join("config.json"),
        }
    }

    /// The URL of the control plane that the login is for.
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

    /// Whether the login is for this control plane; else whose it is.
    pub(crate) fn is_for(&self, control_plane: &ControlPlane) -> Result<(), String> {
        let url = self.control_plane().map_err(|error| error.message())?;
        let with_scheme = match url.contains("://") {
            true => url,
            false => format!("https://{url}"),
        };
        match Origin::parse(&with_scheme) {
            Ok(origin) if origin == *control_plane.origin() => Ok(()),
            Ok(origin) => Err(format!("its control plane is {origin}")),
            Err(error) => Err(format!("its control plane's URL is none: {error}")),
        }
    }
}

impl CliCredentials {
    pub(crate) fn new(places: Places) -> Self {
        let path = places.authentication.clone();
        Self {
            places,
            login: KeptLogin::new(move || kept(&path)),
            redeems: false,
        }
    }

    /// Redeems the login's refresh token when its token has ended, and writes the new ones back, so that
    /// the command line goes on with them. It is the command line's own: two that spend it at one moment
    /// may end the person's session.
    ///
    /// Defaults to not: when the token ends, an error says that a person must log in.
    #[must_use]
    pub fn redeem_refresh_token(mut self) -> Self {
        self.redeems = true;
        self
    }
}

impl CliCredentials {
    /// Says at once what would be wrong at the first fetch.
    pub(crate) fn check(&self) -> Result<(), Error> {
        kept(&self.places.authentication)
            .map(drop)
            .map_err(|error| {
                let message = format!(
                "the Run:ai CLI's login cannot be used: {}; {ADVICE}",
                error.message()
            );
                Error::new(Kind::Credentials, message).with_source(error)
            })
    }
}

/// The login in `authentication.json`.
fn kept(path: &Path) -> Result<Kept, FileError> {
    let value = object(path, &read_text(path, FileKind::Login)?)?;
    let stored = |name: &str| {
        let text = value.get(name)?.as_str()?;
        (!text.is_empty()).then(|| stored(text))
    };
    let token = stored("accessToken");
    if token.is_none() {
        return Err(FileError::new(path, "has no accessToken"));
    }
    Ok(Kept {
        file: path.to_owned(),
        whose: String::new(),
        token,
        refresh_token: stored("refreshToken"),
    })
}

/// A token is written as base64url of its text; one that has dots is the text itself.
fn stored(written: &str) -> Stored {
    let decoded = URL_SAFE.decode(written).ok().map(Zeroizing::new);
    let text = decoded.and_then(|bytes| {
        let text = std::str::from_utf8(&bytes).ok()?;
        let is_text = text.bytes().all(|byte| byte.is_ascii_graphic());
        is_text.then(|| SecretText::from(text))
    });
    Stored {
        written: written.into(),
        writing: match text {
            Some(_) => Writing::Base64Url,
            None => Writing::Plain,
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

impl Login for CliCredentials {
    fn who(&self) -> Who {
        Who {
            name: format!(
                "login of the Run:ai CLI in {}",
                self.places.authentication.display()
            ),
            advice: ADVICE,
            once: true,
        }
    }

    fn epoch(&self) -> u64 {
        self.login.epoch()
    }

    fn is_held(&self) -> bool {
        !self.redeems
    }

    fn fetch<'a>(&'a self, exchange: &'a Arc<Exchange>, cx: &'a FetchContext) -> Fetching<'a> {
        Box::pin(async move {
            let who = self.who();
            let base = exchange.control_plane().base();
            let (places, plane, name) = (self.places.clone(), exchange.clone(), who.name.clone());
            let is_ours = Arc::new(move || {
                places.is_for(plane.control_plane()).map_err(|why| {
                    SourceError::invalid_credentials(format!(
                        "the {name} is not for {base}: {why}; {ADVICE} there"
                    ))
                })
            });
            is_ours()?;
            let (sending, asking, still_ours) = (exchange.clone(), who.clone(), is_ours.clone());
            let send = move |token: SecretText| {
                let (exchange, who) = (sending.clone(), asking.clone());
                let still_ours = still_ours.clone();
                async move {
                    // Somebody may have logged in elsewhere since.
                    still_ours()?;
                    let client_id = CLIENT_ID.into();
                    exchange
                        .issue(&Grant::Refresh { token, client_id }, &who)
                        .await
                }
            };
            let token = self.login.fetch(&who, "", self.redeems, cx, send).await?;
            is_ours()?;
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
        // Its length makes one sign of padding.
        let padded = URL_SAFE.encode(jwt);
        for written in [padded.as_str(), padded.trim_end_matches('='), jwt] {
            let stored = stored(written);
            assert_eq!(stored.text.expose_secret(), jwt, "{written}");
            let plain = stored.writing == Writing::Plain;
            assert_eq!(plain, written == jwt);
        }
    }

    #[test]
    fn a_login_is_for_one_control_plane() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().as_os_str().to_owned();
        let lookup = |name: &str| (name == "RUNAI_CLI_CONFIG_PATH").then(|| home.clone());
        let places = Places::new(&lookup).unwrap();
        let ours = ControlPlane::new("https://acme.run.ai").unwrap();
        for (config, says) in [
            (r#"{"control_plane":{"url":"https://acme.run.ai/"}}"#, None),
            (r#"{"control_plane":{"url":"ACME.run.ai"}}"#, None),
            (r#"{"control_plane.url":"https://acme.run.ai:443"}"#, None),
            (
                r#"{"control_plane":{"url":"https://acme.run.ai.evil.example"}}"#,
                Some("its control plane is https://acme.run.ai.evil.example"),
            ),
            (
                r#"{"control_plane":{"url":"http://acme.run.ai"}}"#,
                Some("http://acme.run.ai"),
            ),
            (r#"{"control_plane":{}}"#, Some("names no control plane")),
            (r#"{"control_plane":"#, Some("is not a JSON object")),
        ] {
            std::fs::write(folder.path().join("config.json"), config).unwrap();
            match (places.is_for(&ours), says) {
                (Ok(()), None) => {}
                (Err(error), Some(says)) => assert!(error.contains(says), "{error}"),
                (found, _) => panic!("{config}: {found:?}"),
            }
        }
    }
}
