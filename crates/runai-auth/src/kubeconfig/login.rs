//! How a user of a kubeconfig logs in.

use std::{fmt, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tower_bearer::ForeignText;
use zeroize::Zeroizing;

use super::{
    exec::Exec,
    file::Entry,
    view::{Shape, View},
};
use crate::files::{FileKind, read_bytes};

/// How a user logs in.
pub(crate) enum LoginMethod {
    Token(Zeroizing<String>),
    TokenFile(PathBuf),
    Exec(Exec),
    Oidc(Oidc),
    /// By nothing that gives a token. The text says what there is instead.
    None(String),
}

/// A login by OpenID Connect, as `kubectl`'s former auth provider and the Run:ai CLI write it.
pub(crate) struct Oidc {
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<Zeroizing<String>>,
    pub(crate) issuer: String,
    pub(crate) id_token: Option<Zeroizing<String>>,
    pub(crate) refresh_token: Option<Zeroizing<String>>,
}

/// Reads how a user logs in, and whether its command needs the cluster.
///
/// As in client-go, a token file comes first, then a token. A command and an auth provider exclude each
/// other.
pub(super) fn read(user: &Entry) -> Result<(LoginMethod, bool), Shape> {
    let view = View::new(&user.value, "");
    let exec = view.map("exec")?;
    let provider = view.map("auth-provider")?;
    if exec.is_some() && provider.is_some() {
        return Err("it has both exec and auth-provider".to_owned());
    }
    if let Some(path) = view.text("tokenFile")? {
        return Ok((LoginMethod::TokenFile(user.path(path)), false));
    }
    if let Some(token) = secret(&view, "token")? {
        return Ok((LoginMethod::Token(token), false));
    }
    if let Some(exec) = exec {
        let provide_cluster = exec.flag("provideClusterInfo")?;
        return Ok((LoginMethod::Exec(Exec::read(&exec, user)?), provide_cluster));
    }
    if let Some(provider) = provider {
        return Ok((auth_provider(&provider)?, false));
    }
    let certificate = ["client-certificate", "client-certificate-data"];
    let other = if has(&view, &certificate)? {
        "a client certificate"
    } else if has(&view, &["username", "password"])? {
        "a username and password"
    } else {
        "nothing"
    };
    Ok((LoginMethod::None(other.to_owned()), false))
}

fn has(view: &View<'_>, keys: &[&str]) -> Result<bool, Shape> {
    for key in keys {
        if view.text(key)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn secret(view: &View<'_>, key: &str) -> Result<Option<Zeroizing<String>>, Shape> {
    let text = view.text(key)?;
    Ok(text.map(|text| Zeroizing::new(text.to_owned())))
}

fn auth_provider(provider: &View<'_>) -> Result<LoginMethod, Shape> {
    let name = provider.text("name")?.unwrap_or_default();
    if name != "oidc" {
        return Ok(LoginMethod::None(format!(
            "the auth provider {}",
            ForeignText::new(name)
        )));
    }
    let none = Value::Null;
    let config = provider.map("config")?;
    let config = config.unwrap_or_else(|| View::new(&none, ""));
    let needed = |key: &'static str| {
        let missing = || format!("its auth-provider has no {key}");
        config.text(key)?.map(str::to_owned).ok_or_else(missing)
    };
    Ok(LoginMethod::Oidc(Oidc {
        client_id: needed("client-id")?,
        client_secret: secret(&config, "client-secret")?,
        issuer: needed("idp-issuer-url")?,
        id_token: secret(&config, "id-token")?,
        refresh_token: secret(&config, "refresh-token")?,
    }))
}

/// Returns the cluster as a command receives it: `spec.cluster` of an `ExecCredential`.
pub(super) fn cluster(entry: &Entry) -> Result<Value, Shape> {
    let view = View::new(&entry.value, "");
    let mut cluster = json!({ "server": view.text("server")?.unwrap_or_default() });
    for key in ["tls-server-name", "proxy-url"] {
        if let Some(text) = view.text(key)? {
            cluster[key] = text.into();
        }
    }
    for key in ["insecure-skip-tls-verify", "disable-compression"] {
        if view.flag(key)? {
            cluster[key] = true.into();
        }
    }
    let authority = match view.text("certificate-authority-data")? {
        Some(data) => Some(data.to_owned()),
        None => match view.text("certificate-authority")? {
            // A command receives the contents, because it does not know this file's folder.
            Some(path) => {
                let read = read_bytes(&entry.path(path), FileKind::Certificates);
                let unreadable = |error| format!("its certificate-authority: {error}");
                Some(STANDARD.encode(&*read.map_err(unreadable)?))
            }
            None => None,
        },
    };
    if let Some(authority) = authority {
        cluster["certificate-authority-data"] = authority.into();
    }
    // Settings in the cluster's entry for such commands only.
    for extension in view.maps("extensions")? {
        if extension.text("name")? == Some("client.authentication.k8s.io/exec") {
            if let Some(config) = extension.value().get("extension") {
                cluster["config"] = config.clone();
            }
        }
    }
    Ok(cluster)
}

impl fmt::Debug for LoginMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(..)"),
            Self::TokenFile(path) => f.debug_tuple("TokenFile").field(path).finish(),
            Self::Exec(exec) => f.debug_tuple("Exec").field(exec).finish(),
            Self::Oidc(oidc) => f.debug_tuple("Oidc").field(oidc).finish(),
            Self::None(other) => f.debug_tuple("None").field(other).finish(),
        }
    }
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc")
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret.is_some())
            .field("issuer", &self.issuer)
            .field("id_token", &self.id_token.is_some())
            .field("refresh_token", &self.refresh_token.is_some())
            .finish()
    }
}
