//! `SSL_CERT_FILE` and `SSL_CERT_DIR`, which name certificates to trust instead of the system's.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use super::pem::{Certificates, PemError, certificates, roots_in};
use crate::files::{FileError, FileErrorKind, FileKind, read_bytes};

/// The variables of OpenSSL.
const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
const SSL_CERT_DIR: &str = "SSL_CERT_DIR";

/// The most files that are read in a directory. A system has 150 CAs, each under two names.
const MAX_FILES: usize = 5000;

/// The certificates that the variables name. Both count together, as in OpenSSL, and one that is empty is
/// unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CertVariables {
    file: Option<PathBuf>,
    directories: Vec<PathBuf>,
}

impl CertVariables {
    /// Reads the variables. `None` means the system's certificates.
    pub(super) fn from_env() -> Option<Self> {
        Self::new(&|name| env::var_os(name))
    }

    /// `lookup` reads a variable.
    fn new(lookup: &dyn Fn(&str) -> Option<OsString>) -> Option<Self> {
        let both = [SSL_CERT_FILE, SSL_CERT_DIR].map(lookup);
        let is_empty = both.iter().flatten().any(|value| value.is_empty());
        let [file, directories] = both.map(|value| value.filter(|value| !value.is_empty()));
        let directories = directories.iter().flat_map(env::split_paths);
        let this = Self {
            file: file.map(PathBuf::from),
            directories: directories
                .filter(|path| !path.as_os_str().is_empty())
                .collect(),
        };
        match this == Self::default() {
            false => Some(this),
            true if is_empty => system(),
            true => None,
        }
    }

    /// Reads all of them.
    pub(super) fn read(&self) -> Result<Certificates, FileError> {
        let mut all = Certificates::new();
        if let Some(file) = &self.file {
            all.extend(roots_in(file)?);
        }
        for directory in &self.directories {
            all.extend(roots_below(directory)?);
        }
        Ok(all)
    }

    /// Returns the variable that names the file or directory of an error.
    pub(super) fn naming(&self, path: &Path) -> Option<&'static str> {
        match self.file.as_deref() == Some(path) {
            true => Some(SSL_CERT_FILE),
            false => self
                .directories
                .iter()
                .any(|directory| path.starts_with(directory))
                .then_some(SSL_CERT_DIR),
        }
    }
}

/// Where the system has its certificates. The library that finds them otherwise takes an empty variable for a
/// path.
#[cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]
fn system() -> Option<CertVariables> {
    let found = openssl_probe::probe();
    Some(CertVariables {
        file: found.cert_file,
        directories: found.cert_dir,
    })
}

/// The variables have no meaning here for the system's certificates.
#[cfg(not(all(unix, not(target_vendor = "apple"), not(target_os = "android"))))]
fn system() -> Option<CertVariables> {
    None
}

/// Reads the certificates in the regular files of a directory. Other files are passed over, as OpenSSL does,
/// but one certificate there must be.
fn roots_below(directory: &Path) -> Result<Certificates, FileError> {
    let failed = |error: io::Error| {
        let what = format!("cannot be read as a directory ({error})");
        FileError::new(directory, what).with_source(error)
    };
    let mut roots = Certificates::new();
    let mut seen = BTreeSet::new();
    for (count, entry) in fs::read_dir(directory).map_err(failed)?.enumerate() {
        if count == MAX_FILES {
            let what = format!("has more than {MAX_FILES} files");
            return Err(FileError::new(directory, what));
        }
        let path = entry.map_err(failed)?.path();
        let bytes = match read_bytes(&path, FileKind::Certificates) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == FileErrorKind::TooLarge => return Err(error),
            // A folder, a link to nothing, or another user's file.
            Err(_) => continue,
        };
        match certificates(&bytes) {
            // Each is there under its own name and its hash.
            Ok(found) => roots.extend(
                found
                    .into_iter()
                    .filter(|it| seen.insert(it.as_ref().to_vec())),
            ),
            Err(PemError::NoPem(_) | PemError::NoCertificate) => {}
            Err(error) => return Err(error.in_file(&path)),
        }
    }
    match roots.is_empty() {
        true => Err(FileError::new(directory, "has no file with a certificate")),
        false => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(file: Option<&str>, directories: Option<&str>) -> Option<CertVariables> {
        CertVariables::new(&|name| {
            let value = match name {
                SSL_CERT_FILE => file,
                SSL_CERT_DIR => directories,
                other => panic!("{other}"),
            };
            value.map(OsString::from)
        })
    }

    #[test]
    fn an_empty_variable_is_unset_and_both_count_together() {
        assert_eq!(with(None, None), None);
        for (file, directories) in [(Some(""), None), (None, Some("")), (Some(""), Some(""))] {
            let found = with(file, directories);
            assert_eq!(found, system());
            let names = |found: CertVariables| found.naming(Path::new("")).is_some();
            assert!(!found.is_some_and(names));
        }
        let file = with(Some("/f"), Some("")).unwrap();
        assert_eq!(file.naming(Path::new("/f")), Some(SSL_CERT_FILE));
        let list = env::join_paths(["/a", "/b"]).unwrap();
        let both = with(Some("/f"), list.to_str()).unwrap();
        assert_eq!(both.directories.len(), 2);
        assert_eq!(both.naming(Path::new("/b/x")), Some(SSL_CERT_DIR));
        assert_eq!(both.naming(Path::new("/c")), None);
    }

    #[tokio::test]
    async fn a_directory_is_read_as_openssl_does() {
        let fake = runai_fake::RunaiFake::builder().tls(true).start();
        let fake = fake.await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let variables = |file: Option<PathBuf>| CertVariables {
            file,
            directories: vec![folder.path().to_owned()],
        };
        let error = variables(None).read().unwrap_err();
        assert!(
            error.message().contains("has no file with a certificate"),
            "{error}"
        );
        fs::write(path("README"), "-----BEGIN nothing").unwrap();
        fs::create_dir(path("folder")).unwrap();
        fs::write(path("ca.pem"), fake.ca_pem().unwrap()).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("ca.pem", path("0123abcd.0")).unwrap();
            std::os::unix::fs::symlink("nothing", path("0123abcd.1")).unwrap();
            // Nobody writes to it: reading would not end.
            let made = std::process::Command::new("mkfifo")
                .arg(path("pipe"))
                .status();
            assert!(made.unwrap().success());
        }
        assert_eq!(variables(None).read().unwrap().len(), 1);
        assert_eq!(variables(Some(path("ca.pem"))).read().unwrap().len(), 2);
        let missing = variables(Some(path("missing")));
        let error = missing.read().unwrap_err();
        assert_eq!(missing.naming(error.path()), Some(SSL_CERT_FILE));
    }
}
