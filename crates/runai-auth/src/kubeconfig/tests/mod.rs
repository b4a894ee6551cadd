//! Files, merging, and what users log in with.

mod exec;
mod login;
mod merge;
mod write_back;

use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
};

use super::{Kubeconfig, KubeconfigError, User, load};

/// A folder of one test, which is removed when the test ends.
#[derive(Debug)]
struct Folder {
    /// Without symlinks, as errors name it.
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            path: folder.path().canonicalize().unwrap(),
            _folder: folder,
        }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The names of the files, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

fn load_text(text: &str) -> Result<Kubeconfig, KubeconfigError> {
    let folder = Folder::new();
    load(&[folder.file("config", text)])
}

/// The user of a file that has one context, with what stands below `user`.
fn user(folder: &Folder, user: &str) -> Result<User, KubeconfigError> {
    let text = format!(
        "current-context: main\n\
         contexts: [{{name: main, context: {{cluster: prod, user: me}}}}]\n\
         clusters: [{{name: prod, cluster: {{server: 'https://prod'}}}}]\n\
         users:\n- name: me\n  user: {user}\n"
    );
    load(&[folder.file("config", &text)])?.user(None)
}

fn message<T>(result: Result<T, KubeconfigError>) -> String {
    match result {
        Ok(_) => panic!("there is no error"),
        Err(error) => error.to_string(),
    }
}
