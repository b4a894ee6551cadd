//! What PEM texts and files hold, and what is wrong with them.

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
    error::{Error, Kind},
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
        Err(flaw @ Flaw::NoKey(_)) => Err(flaw.in_file(key)),
        Err(flaw) => Err(flaw.in_file(chain)),
    }
}

pub(super) fn roots_in(path: &Path) -> Result<Certificates, FileError> {
    certificates(&read_bytes(path, FileKind::Certificates)?).map_err(|flaw| flaw.in_file(path))
}

/// The certificates in a PEM text, of which there must be one at least.
pub(super) fn certificates(pem: &[u8]) -> Result<Certificates, Flaw> {
    let certificates: Certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(Flaw::NoPem)?;
    match certificates.is_empty() {
        true => Err(Flaw::NoCertificate),
        false => Ok(certificates),
    }
}

pub(super) fn certified(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, Flaw> {
    let chain = certificates(chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(Flaw::NoKey)?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(Flaw::Tls)
}

/// What is wrong with a PEM text, or with what it holds.
pub(super) enum Flaw {
    NoPem(pem::Error),
    NoCertificate,
    NoKey(pem::Error),
    Tls(rustls::Error),
    File(FileError),
}

impl From<FileError> for Flaw {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl Flaw {
    fn what(&self) -> &'static str {
        match self {
            Self::NoPem(_) => "is no PEM",
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

    /// The same of a text that was given.
    pub(super) fn of(self, text: &str) -> Error {
        let error = Error::new(Kind::Tls, format!("{text}: the PEM {}", self.what()));
        match self {
            Self::NoPem(source) | Self::NoKey(source) => error.with_source(source),
            Self::Tls(source) => error.with_source(source),
            Self::File(source) => error.with_source(source),
            Self::NoCertificate => error,
        }
    }
}
