//! One kubeconfig file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use tower_bearer::ForeignText;
use zeroize::Zeroizing;

use super::{
    error::KubeconfigError,
    view::{Shape, View},
    yaml,
};
use crate::files::{self, FileErrorKind, FileKind};

/// The contents of a file.
#[derive(Default)]
pub(super) struct Content {
    pub(super) current: Option<String>,
    pub(super) contexts: BTreeMap<String, Entry>,
    pub(super) users: BTreeMap<String, Entry>,
    pub(super) clusters: BTreeMap<String, Entry>,
}

/// A named mapping, and the file that it came from.
pub(super) struct Entry {
    pub(super) file: PathBuf,
    pub(super) value: Value,
}

impl Entry {
    /// Resolves a path in the entry. A relative path starts at the folder of the file.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        match self.file.parent() {
            Some(folder) => folder.join(path),
            None => PathBuf::from(path),
        }
    }
}

/// Reads a file, if it exists.
pub(super) fn read(path: &Path) -> Result<Option<Content>, KubeconfigError> {
    let Some(text) = read_text(path)? else {
        return Ok(None);
    };
    let root = yaml::parse(&text).and_then(|root| match root {
        Some(root) => yaml::to_json(&root),
        None => Ok(Value::Null),
    });
    let root = root.map_err(|problem| KubeconfigError::about(path, problem))?;
    let content = content(path, &root).map_err(|shape| KubeconfigError::about(path, shape))?;
    Ok(Some(content))
}

/// Returns the text of a file, if it exists.
pub(super) fn read_text(path: &Path) -> Result<Option<Zeroizing<String>>, KubeconfigError> {
    // KUBECONFIG=/dev/null is the usual way to have no kubeconfig.
    if path == Path::new("/dev/null") {
        return Ok(Some(Zeroizing::default()));
    }
    match files::read_text(path, FileKind::Kubeconfig) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == FileErrorKind::NotFound => Ok(None),
        Err(error) => Err(KubeconfigError::new(error.message()).with_source(error)),
    }
}

fn content(path: &Path, root: &Value) -> Result<Content, Shape> {
    if root.is_null() {
        return Ok(Content::default());
    }
    if !root.is_object() {
        return Err("not a mapping".to_owned());
    }
    let root = View::new(root, "");
    Ok(Content {
        current: root.text("current-context")?.map(str::to_owned),
        contexts: entries(path, &root, "contexts", "context")?,
        users: entries(path, &root, "users", "user")?,
        clusters: entries(path, &root, "clusters", "cluster")?,
    })
}

/// Returns the entries of a list like `users: [{name: …, user: {…}}]`.
fn entries(
    path: &Path,
    root: &View<'_>,
    list: &str,
    kind: &str,
) -> Result<BTreeMap<String, Entry>, Shape> {
    let mut entries = BTreeMap::new();
    for item in root.maps(list)? {
        let name = item.text("name")?.unwrap_or_default();
        let value = match item.map(kind)? {
            Some(map) => map.value().clone(),
            None => Value::Object(Map::new()),
        };
        let file = path.to_owned();
        if entries
            .insert(name.to_owned(), Entry { file, value })
            .is_some()
        {
            return Err(format!("{list} has {} twice", ForeignText::new(name)));
        }
    }
    Ok(entries)
}
