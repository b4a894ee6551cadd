//! Certificates and keys in PEM texts and files.

use std::path::Path;

use rustls::{
    CertificateError,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

use crate::{
    error::{SetupError, SetupErrorKind},
    files::{FileError, FileKind, read_bytes},
};

pub(super) type Certificates = Vec<CertificateDer<'static>>;

/// The PEM texts of a chain and a key that belong together.
#[derive(Clone, PartialEq)]
pub(super) struct IdentityPem {
    pub(super) chain: Zeroizing<Vec<u8>>,
    pub(super) key: Zeroizing<Vec<u8>>,
}

pub(super) fn identity_in(chain: &Path, key: &Path) -> Result<IdentityPem, FileError> {
    let pem = IdentityPem {
        chain: read_bytes(chain, FileKind::Certificates)?,
        key: read_bytes(key, FileKind::PrivateKey)?,
    };
    match certified(&pem.chain, &pem.key) {
        Ok(_) => Ok(pem),
        Err(error @ PemError::NoKey(_)) => Err(error.in_file(key)),
        Err(error) => Err(error.in_file(chain)),
    }
}

pub(super) fn roots_in(path: &Path) -> Result<Certificates, FileError> {
    certificates(&read_bytes(path, FileKind::Certificates)?).map_err(|error| error.in_file(path))
}

/// Reads the certificates in a PEM text. There must be at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Certificates, PemError> {
    let certificates: Certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(PemError::NoPem)?;
    match certificates.is_empty() {
        true => Err(PemError::NoCertificate),
        false => Ok(certificates),
    }
}

pub(super) fn certified(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, PemError> {
    let chain = certificates(chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(PemError::NoKey)?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(PemError::Tls)
}

/// What is wrong with a PEM text, without any of it: it may be a key.
fn flaw(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section does not end",
        pem::Error::IllegalSectionStart { .. } => "a section does not start properly",
        pem::Error::Base64Decode(_) => "a section is not base64",
        pem::Error::NoItemsFound => "there is none",
        pem::Error::SectionTooLarge => "a section is too large",
        _ => "it cannot be read",
    }
}

/// A PEM text that cannot be used, or its contents.
pub(super) enum PemError {
    NoPem(pem::Error),
    NoCertificate,
    NoKey(pem::Error),
    Tls(rustls::Error),
    File(FileError),
}

impl From<FileError> for PemError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl PemError {
    fn what(&self) -> String {
        let what = match self {
            Self::NoPem(error) => return format!("is not PEM ({})", flaw(error)),
            Self::NoKey(error) => return format!("has no private key ({})", flaw(error)),
            Self::NoCertificate => "has no certificate",
            Self::Tls(rustls::Error::InconsistentKeys(_)) => "is not the certificate of that key",
            Self::Tls(rustls::Error::InvalidCertificate(CertificateError::BadEncoding)) => {
                "has a certificate that cannot be read"
            }
            Self::Tls(_) => "cannot be used",
            Self::File(_) => "cannot be used",
        };
        what.to_owned()
    }

    pub(super) fn in_file(self, path: &Path) -> FileError {
        let error = FileError::new(path, self.what());
        match self {
            Self::Tls(source) => error.with_source(source),
            Self::File(error) => error,
            Self::NoPem(_) | Self::NoKey(_) | Self::NoCertificate => error,
        }
    }

    /// The error about a PEM text that was passed in.
    pub(super) fn in_text(self, text: &str) -> SetupError {
        let message = format!("{text}: the PEM {}", self.what());
        let error = SetupError::new(SetupErrorKind::Tls, message);
        match self {
            Self::Tls(source) => error.with_source(source),
            Self::File(source) => error.with_file(source),
            Self::NoPem(_) | Self::NoKey(_) | Self::NoCertificate => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p01_a_broken_key_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (text, flaw) in [
            ("-----BEGIN s3cr3t", "a section does not start properly"),
            ("-----BEGIN s3cr3t-----\nAAAA\n", "a section does not end"),
            (
                "-----BEGIN CERTIFICATE-----\n\u{1}s3cr3t!\n-----END CERTIFICATE-----\n",
                "a section is not base64",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = roots_in(&path).unwrap_err();
            let shown = format!("{error} {}", tower_bearer::Report::new(&error));
            assert!(shown.contains(flaw), "{text}: {shown}");
            assert!(!shown.contains("s3cr3t"), "{shown}");
            let error = certificates(text.as_bytes()).unwrap_err().in_text("it");
            assert!(!format!("{error:#}").contains("s3cr3t"), "{error:#}");
        }
    }
}
