//! Finds, merges and reads kubeconfigs, as kubectl does.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use tower_bearer::ForeignText;

use super::{
    error::KubeconfigError,
    file::{self, Entry},
    login::{self, LoginMethod},
    view::View,
};
use crate::files::shown_path;

/// The most contexts that an error lists.
const LISTED: usize = 10;

/// Returns the files to read, in order: those of `KUBECONFIG`, else `~/.kube/config`.
///
/// `lookup` reads an environment variable.
pub(crate) fn paths(lookup: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let is_set = |value: &OsString| !value.is_empty();
    if let Some(list) = lookup("KUBECONFIG").filter(is_set) {
        return env::split_paths(&list)
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
    }
    let home = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    let home = lookup(home).filter(is_set);
    home.map(|home| Path::new(&home).join(".kube").join("config"))
        .into_iter()
        .collect()
}

/// Reads and merges files as kubectl does: for each entry the first file that has it wins, and missing files
/// are skipped.
pub(crate) fn load(paths: &[PathBuf]) -> Result<Kubeconfig, KubeconfigError> {
    let mut merged = Kubeconfig {
        looked: paths.to_vec(),
        ..Kubeconfig::default()
    };
    for path in paths {
        let Some(file) = file::read(path)? else {
            continue;
        };
        merged.found.push(path.clone());
        merged.current = merged.current.or(file.current);
        for (all, new) in [
            (&mut merged.contexts, file.contexts),
            (&mut merged.users, file.users),
            (&mut merged.clusters, file.clusters),
        ] {
            for (name, entry) in new {
                all.entry(name).or_insert(entry);
            }
        }
    }
    Ok(merged)
}

/// All kubeconfigs, merged.
#[derive(Default)]
pub(crate) struct Kubeconfig {
    looked: Vec<PathBuf>,
    found: Vec<PathBuf>,
    pub(super) current: Option<String>,
    pub(super) contexts: BTreeMap<String, Entry>,
    pub(super) users: BTreeMap<String, Entry>,
    pub(super) clusters: BTreeMap<String, Entry>,
}

/// A user of a context.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) context: String,
    /// The file that the user's entry came from.
    pub(crate) file: PathBuf,
    pub(crate) login: LoginMethod,
}

impl Kubeconfig {
    /// Returns whether no file was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Returns whether there is a current context.
    pub(crate) fn has_current_context(&self) -> bool {
        self.current.is_some()
    }

    /// Returns the user of a context: of the named one, else of the current one.
    pub(crate) fn user(&self, context: Option<&str>) -> Result<User, KubeconfigError> {
        let name = match context.or(self.current.as_deref()) {
            Some(name) => name,
            None => return Err(self.no_context("there is no current context")),
        };
        let context_name = ForeignText::new(name);
        let Some(context) = self.contexts.get(name) else {
            return Err(self.no_context(&format!("there is no context {context_name}")));
        };
        let wrong = |shape| {
            let message = format!("context {context_name}: {shape}");
            KubeconfigError::about(&context.file, message)
        };
        let view = View::new(&context.value, "");
        let user_name = view.text("user").map_err(wrong)?;
        let cluster = view.text("cluster").map_err(wrong)?.unwrap_or_default();
        let Some(user_name) = user_name else {
            return Err(wrong("it names no user".to_owned()));
        };
        let Some(user) = self.users.get(user_name) else {
            let user = ForeignText::new(user_name);
            return Err(wrong(format!("it names user {user}, which is missing")));
        };

        let owner = format!(
            "user {} of context {context_name}",
            ForeignText::new(user_name)
        );
        let wrong = |shape| KubeconfigError::about(&user.file, format!("{owner}: {shape}"));
        let (mut login, provide_cluster) = login::read(user).map_err(wrong)?;
        if let LoginMethod::Exec(exec) = &mut login {
            exec.user = owner.clone();
            if provide_cluster {
                let Some(entry) = self.clusters.get(cluster) else {
                    let needs = "its command needs the cluster";
                    let cluster = ForeignText::new(cluster);
                    return Err(wrong(format!("{needs} {cluster}, which is missing")));
                };
                exec.cluster = Some(login::cluster(entry).map_err(|shape| {
                    KubeconfigError::about(
                        &entry.file,
                        format!("cluster {}: {shape}", ForeignText::new(cluster)),
                    )
                })?);
            }
        }
        Ok(User {
            name: user_name.to_owned(),
            context: name.to_owned(),
            file: user.file.clone(),
            login,
        })
    }

    fn no_context(&self, problem: &str) -> KubeconfigError {
        let listed = |paths: &[PathBuf]| {
            let paths = paths.iter().map(|path| shown_path(path));
            paths.collect::<Vec<_>>().join(", ")
        };
        if self.is_empty() {
            let looked = listed(&self.looked);
            return KubeconfigError::new(format!("{problem}: no kubeconfig was found ({looked})"));
        }
        let names = self.contexts.keys().take(LISTED);
        let names: Vec<_> = names
            .map(|name| ForeignText::new(name).to_string())
            .collect();
        let names = match (names.len(), self.contexts.len()) {
            (0, _) => "no contexts".to_owned(),
            (some, all) if some < all => {
                format!("{} and {} more", names.join(", "), all - some)
            }
            _ => names.join(", "),
        };
        let found = listed(&self.found);
        KubeconfigError::new(format!("{problem}; {found} has {names}"))
    }
}

impl fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubeconfig")
            .field("found", &self.found)
            .field("current", &self.current)
            .field("contexts", &self.contexts.keys())
            .field("users", &self.users.keys())
            .field("clusters", &self.clusters.keys())
            .finish()
    }
}
