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
    fn what(&self) -> &'static str {
        match self {
            Self::NoPem(_) => "is not PEM",
            Self::NoCertificate => "has no certificate",
            Self::NoKey(_) => "has no private key",
            Self::Tls(rustls::Error::InconsistentKeys(_)) => "is not the certificate of that key",
            Self::Tls(rustls::Error::InvalidCertificate(CertificateError::BadEncoding)) => {
                "has a certificate that cannot be read"
            }
            Self::Tls(_) => "cannot be used",
            Self::File(_) => "cannot be used",
        }
    }

    fn in_file(self, path: &Path) -> FileError {
        let error = FileError::new(path, self.what());
        match self {
            Self::NoPem(source) | Self::NoKey(source) => error.with_source(source),
            Self::Tls(source) => error.with_source(source),
            Self::File(error) => error,
            Self::NoCertificate => error,
        }
    }

    /// The error about a PEM text that was passed in.
    pub(super) fn in_text(self, text: &str) -> SetupError {
        let message = format!("{text}: the PEM {}", self.what());
        let error = SetupError::new(SetupErrorKind::Tls, message);
        match self {
            Self::NoPem(source) | Self::NoKey(source) => error.with_source(source),
            Self::Tls(source) => error.with_source(source),
            Self::File(source) => error.with_file(source),
            Self::NoCertificate => error,
        }
    }
}
