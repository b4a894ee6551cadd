//! A command that prints a token: Kubernetes' `client.authentication.k8s.io`.

use std::{fmt, path::PathBuf};

use serde_json::{Value, json};
use tower_bearer::ForeignText;
use zeroize::Zeroizing;

use super::{
    error::KubeconfigError,
    file::Entry,
    view::{Shape, View},
};
use crate::files::{Command, CommandError};

const VERSIONS: [&str; 2] = [
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
];

/// A command that prints a token.
pub(crate) struct Exec {
    api_version: String,
    command: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    install_hint: Option<ForeignText>,
    file: PathBuf,
    /// Whose command this is, for errors.
    pub(super) user: String,
    /// What the command receives about the cluster.
    pub(super) cluster: Option<Value>,
}

/// The token that a command printed.
pub(crate) struct ExecToken {
    pub(crate) token: Zeroizing<String>,
    /// Seconds since 1970.
    pub(crate) expires_at: Option<f64>,
}

impl Exec {
    pub(super) fn read(view: &View<'_>, user: &Entry) -> Result<Self, Shape> {
        let api_version = view.text("apiVersion")?.unwrap_or_default();
        if !VERSIONS.contains(&api_version) {
            let known = VERSIONS.join(" and ");
            let version = ForeignText::new(api_version);
            return Err(format!(
                "exec.apiVersion is {version}, and only {known} are known"
            ));
        }
        // Version 1 requires a mode. A missing one counts as the usual one.
        match view.text("interactiveMode")?.unwrap_or("IfAvailable") {
            "Never" | "IfAvailable" => {}
            "Always" => {
                let why = "there is no terminal here";
                return Err(format!("exec.interactiveMode is Always, and {why}"));
            }
            other => {
                let mode = ForeignText::new(other);
                return Err(format!("exec.interactiveMode is {mode}"));
            }
        }
        let Some(command) = view.text("command")? else {
            return Err("exec has no command".to_owned());
        };
        let mut env = Vec::new();
        for variable in view.maps("env")? {
            let Some(name) = variable.text("name")? else {
                return Err("a variable in exec.env has no name".to_owned());
            };
            let value = variable.text("value")?.unwrap_or_default();
            env.push((name.to_owned(), value.to_owned()));
        }
        let args = view.texts("args")?.into_iter();
        Ok(Self {
            api_version: api_version.to_owned(),
            // A bare name is searched in PATH.
            command: if command.contains(std::path::is_separator) {
                user.path(command)
            } else {
                command.into()
            },
            args: args.map(str::to_owned).collect(),
            env,
            install_hint: view.text("installHint")?.map(ForeignText::new),
            file: user.file.clone(),
            user: String::new(),
            cluster: None,
        })
    }

    /// Runs the command. Dropping the future ends it.
    pub(crate) async fn run(&self) -> Result<ExecToken, KubeconfigError> {
        let command = Command::new(&self.command, &self.args);
        let command = self
            .env
            .iter()
            .fold(command, |command, (name, value)| command.env(name, value))
            .open_env("KUBERNETES_EXEC_INFO", self.info());
        let output = command.output().await.map_err(|error| self.failed(error))?;
        credential(output.as_bytes(), &self.api_version).map_err(|problem| self.error(problem))
    }

    /// Returns what the command receives.
    fn info(&self) -> String {
        let mut spec = json!({ "interactive": false });
        if let Some(cluster) = &self.cluster {
            spec["cluster"] = cluster.clone();
        }
        let info = json!({
            "apiVersion": self.api_version,
            "kind": "ExecCredential",
            "spec": spec,
        });
        info.to_string()
    }

    fn failed(&self, error: CommandError) -> KubeconfigError {
        let mut problem = format!("it {}", error.what());
        if let Some(hint) = self.install_hint.as_ref().filter(|_| error.is_not_found()) {
            problem = format!("{problem}; the kubeconfig says {hint}");
        }
        self.error(problem).with_source(error)
    }

    fn error(&self, problem: impl fmt::Display) -> KubeconfigError {
        let command = ForeignText::new(&self.command.to_string_lossy());
        let user = &self.user;
        KubeconfigError::about(
            &self.file,
            format!("{user}: its command {command}: {problem}"),
        )
    }
}

/// Reads an `ExecCredential`. Errors show nothing of it.
fn credential(output: &[u8], api_version: &str) -> Result<ExecToken, String> {
    let Ok(root) = serde_json::from_slice::<Value>(output) else {
        return Err("what it wrote is not JSON".to_owned());
    };
    let root = View::new(&root, "");
    let wrote = |shape| format!("in what it wrote, {shape}");
    if root.text("kind").map_err(wrote)? != Some("ExecCredential") {
        return Err("what it wrote is not an ExecCredential".to_owned());
    }
    if root.text("apiVersion").map_err(wrote)? != Some(api_version) {
        return Err(format!("what it wrote is not of {api_version}"));
    }
    let Some(status) = root.map("status").map_err(wrote)? else {
        return Err("what it wrote has no status".to_owned());
    };
    let Some(token) = status.text("token").map_err(wrote)? else {
        let certificate = status.text("clientCertificateData").map_err(wrote)?;
        return Err(match certificate {
            Some(_) => "it gave a client certificate, and a token is needed".to_owned(),
            None => "it gave no token".to_owned(),
        });
    };
    let expires_at = match status.text("expirationTimestamp").map_err(wrote)? {
        Some(text) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => Some(time.as_duration().as_secs_f64()),
            Err(_) => return Err(wrote("status.expirationTimestamp is not a time".to_owned())),
        },
        None => None,
    };
    Ok(ExecToken {
        token: Zeroizing::new(token.to_owned()),
        expires_at,
    })
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments and variables may hold secrets.
        f.debug_struct("Exec")
            .field("api_version", &self.api_version)
            .field("command", &self.command)
            .field("args", &self.args.len())
            .field("env", &self.env.len())
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ExecToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecToken")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
