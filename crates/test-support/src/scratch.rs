//! A folder of one test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A new, empty folder with a name that no other has. It is removed on drop, with all that is in it.
///
/// What a test reads, writes or expects to be absent belongs in here: any other path may exist on somebody's
/// machine.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes the folder, in the machine's place for temporary files.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it does something")]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("test-").tempdir();
        Self(folder.expect("a folder can be made"))
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// The path of a name in the folder, whether it exists or not.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The same as text, for arguments and variables.
    #[must_use]
    pub fn name(&self, name: &str) -> String {
        let path = self.path(name).into_os_string();
        path.into_string().expect("the path is UTF-8")
    }

    /// Writes a file, which only its owner may read, and the folders above it. Returns its path as text.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        let folder = path.parent().expect("it is in a folder");
        fs::create_dir_all(folder).expect("the folder can be made");
        fs::write(&path, text).expect("the file can be written");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As people keep files with secrets.
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(&path, private).expect("the file is ours");
        }
        self.name(name)
    }

    /// Reads a file.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) {
        let path = self.path(name);
        fs::remove_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_empty_and_goes_with_its_handle() {
        let (one, other) = (Scratch::new(), Scratch::new());
        assert_ne!(one.root(), other.root());
        assert!(!one.path("a/b").exists());
        assert_eq!(one.write("a/b", "text"), one.name("a/b"));
        assert_eq!(one.read("a/b"), "text");
        one.remove("a/b");
        assert!(!one.path("a/b").exists());
        let root = one.root().to_owned();
        drop(one);
        assert!(!root.exists() && other.root().exists());
    }
}
