//! Kubeconfigs, as far as they hold a login: found, merged and read as kubectl does.

mod error;
mod exec;
mod file;
mod login;
mod view;
mod write_back;
mod yaml;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

pub(crate) use self::{
    error::Error,
    login::{Login, Oidc},
    write_back::{can_write_back, write_back},
};
use self::{file::Entry, view::View};

/// How many contexts an error lists.
const LISTED: usize = 10;

/// The files that count, in order: those of `KUBECONFIG`, else `~/.kube/config`.
///
/// `lookup` reads an environment variable.
pub(crate) fn paths(lookup: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let is_there = |value: &OsString| !value.is_empty();
    if let Some(list) = lookup("KUBECONFIG").filter(is_there) {
        return env::split_paths(&list)
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
    }
    let home = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    let home = lookup(home).filter(is_there);
    home.map(|home| Path::new(&home).join(".kube").join("config"))
        .into_iter()
        .collect()
}

/// Reads and merges files as kubectl does: the first file to say something wins, entry by entry, and
/// files that are not there are passed over.
pub(crate) fn load(paths: &[PathBuf]) -> Result<Kubeconfig, Error> {
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
    current: Option<String>,
    contexts: BTreeMap<String, Entry>,
    users: BTreeMap<String, Entry>,
    clusters: BTreeMap<String, Entry>,
}

/// A user of a context.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) context: String,
    /// The file that the user's entry came from.
    pub(crate) file: PathBuf,
    pub(crate) login: Login,
}

impl Kubeconfig {
    /// Whether no file was there.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether a context is the current one.
    pub(crate) fn has_current_context(&self) -> bool {
        self.current.is_some()
    }

    /// The user of a context: of the named one, else of the current one.
    pub(crate) fn user(&self, context: Option<&str>) -> Result<User, Error> {
        let name = match context.or(self.current.as_deref()) {
            Some(name) => name,
            None => return Err(self.no_context("there is no current context")),
        };
        let Some(context) = self.contexts.get(name) else {
            return Err(self.no_context(&format!("there is no context {name:?}")));
        };
        let wrong = |shape| Error::about(&context.file, format!("context {name:?}: {shape}"));
        let view = View::new(&context.value, "");
        let user_name = view.text("user").map_err(wrong)?;
        let cluster = view.text("cluster").map_err(wrong)?.unwrap_or_default();
        let Some(user_name) = user_name else {
            return Err(wrong("it names no user".to_owned()));
        };
        let Some(user) = self.users.get(user_name) else {
            let missing = format!("its user {user_name:?} is not there");
            return Err(wrong(missing));
        };

        let wrong = |shape| {
            let whose = format!("user {user_name:?} of context {name:?}: {shape}");
            Error::about(&user.file, whose)
        };
        let (mut login, provide_cluster) = login::read(user).map_err(wrong)?;
        if let Login::Exec(exec) = &mut login {
            exec.user = format!("user {user_name:?} of context {name:?}");
            if provide_cluster {
                let Some(entry) = self.clusters.get(cluster) else {
                    let asks = "its command asks for the cluster";
                    return Err(wrong(format!("{asks}, and {cluster:?} is not there")));
                };
                exec.cluster = Some(login::cluster(entry).map_err(|shape| {
                    Error::about(&entry.file, format!("cluster {cluster:?}: {shape}"))
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

    fn no_context(&self, problem: &str) -> Error {
        let listed = |paths: &[PathBuf]| {
            let paths = paths.iter().map(|path| path.display().to_string());
            paths.collect::<Vec<_>>().join(", ")
        };
        if self.is_empty() {
            let looked = listed(&self.looked);
            return Error::new(format!("{problem}: no kubeconfig was found ({looked})"));
        }
        let names = self.contexts.keys().take(LISTED);
        let names: Vec<_> = names.map(|name| format!("{name:?}")).collect();
        let names = match (names.len(), self.contexts.len()) {
            (0, _) => "no context at all".to_owned(),
            (some, all) if some < all => {
                format!("{} and {} more", names.join(", "), all - some)
            }
            _ => names.join(", "),
        };
        let found = listed(&self.found);
        Error::new(format!("{problem}; {found} has {names}"))
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
