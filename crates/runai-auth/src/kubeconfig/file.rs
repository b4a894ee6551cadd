//! One kubeconfig file.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    error::KubeconfigError,
    view::{Shape, View},
    yaml,
};
use crate::watched::is_pipe;

/// What a file says.
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
    /// A path that stands in the entry: relative ones are so to the folder of the file.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        match self.file.parent() {
            Some(folder) => folder.join(path),
            None => PathBuf::from(path),
        }
    }
}

/// Reads a file, if it is there.
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

/// The text of a file, if it is there.
pub(super) fn read_text(path: &Path) -> Result<Option<Zeroizing<String>>, KubeconfigError> {
    let failed = |error| KubeconfigError::about(path, "cannot be read").with_source(error);
    // A device may stand for an empty file: KUBECONFIG=/dev/null.
    if is_pipe(path) {
        return Err(KubeconfigError::about(
            path,
            "a pipe, which cannot be read twice",
        ));
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // One byte more than is allowed, so that a larger file is seen to be larger. The space is there
    // from the start: growing would leave copies of tokens behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(yaml::MAX_BYTES + 1));
    file.take(yaml::MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > yaml::MAX_BYTES {
        return Err(KubeconfigError::about(path, "larger than 1 MiB"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
        Err(_) => Err(KubeconfigError::about(path, "not UTF-8")),
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

/// The entries of a list like `users: [{name: …, user: {…}}]`.
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
            return Err(format!("{list} has {name:?} twice"));
        }
    }
    Ok(entries)
}
