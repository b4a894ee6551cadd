//! TLS: trusted roots and the client certificate.
//!
//! Their files are checked again at most once a second, when a connection is made, so a replaced file
//! takes effect without a restart.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use rustls_platform_verifier::Verifier;
use tower_bearer::Report;

use super::{
    cert_variables::CertVariables,
    pem::{Certificates, IdentityPem, PemError, certificates, certified, identity_in, roots_in},
};
use crate::{
    error::{SetupError, SetupErrorKind},
    files::Watched,
};

/// Trusted roots and the client certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    extra_roots: Certificates,
    root_files: Vec<PathBuf>,
    identity: Option<Identity>,
    accepts_any: bool,
}

/// A client certificate with its chain, and its key.
#[derive(Clone, Debug)]
enum Identity {
    Given(Arc<CertifiedKey>),
    Files { chain: PathBuf, key: PathBuf },
}

impl Tls {
    pub(crate) fn trust_pem(&mut self, pem: &[u8]) -> Result<(), SetupError> {
        let roots = certificates(pem).map_err(|error| error.in_text("the root certificates"))?;
        self.extra_roots.extend(roots);
        Ok(())
    }

    pub(crate) fn trust_file(&mut self, path: PathBuf) -> Result<(), SetupError> {
        roots_in(&path).map_err(tls_error)?;
        self.root_files.push(path);
        Ok(())
    }

    pub(crate) fn show_pem(&mut self, chain: &[u8], key: &[u8]) -> Result<(), SetupError> {
        let key = certified(chain, key).map_err(|error| error.in_text("the client certificate"))?;
        self.identity = Some(Identity::Given(Arc::new(key)));
        Ok(())
    }

    pub(crate) fn show_files(&mut self, chain: PathBuf, key: PathBuf) -> Result<(), SetupError> {
        identity_in(&chain, &key).map_err(tls_error)?;
        self.identity = Some(Identity::Files { chain, key });
        Ok(())
    }

    pub(crate) fn accept_any(&mut self) {
        self.accepts_any = true;
    }

    /// Makes the configuration. It names its crypto provider, because the process-wide default belongs to
    /// the program.
    pub(crate) fn config(&self, is_https: bool) -> Result<ClientConfig, SetupError> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| tls_error(PemError::Tls(error)))?;
        let config = match self.verifier(&provider) {
            Ok(verifier) => config
                .dangerous()
                .with_custom_certificate_verifier(verifier),
            // A machine without any certificate can still talk to itself without TLS.
            Err(_) if !is_https => config.with_root_certificates(RootCertStore::empty()),
            Err(error) => return Err(error),
        };
        Ok(match &self.identity {
            None => config.with_no_client_auth(),
            Some(Identity::Given(key)) => {
                config.with_client_cert_resolver(Arc::new(ClientIdentity::Given(key.clone())))
            }
            Some(Identity::Files { chain, key }) => {
                let (chain, key) = (chain.clone(), key.clone());
                let files = Watched::new(move || identity_in(&chain, &key));
                config.with_client_cert_resolver(Arc::new(ClientIdentity::Files(files)))
            }
        })
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, SetupError> {
        if self.accepts_any {
            tracing::warn!(
                "certificates are not verified: anyone on the network path can read the secret and the token, \
                 and can pose as the control plane"
            );
            return Ok(Arc::new(AcceptsAny(provider.clone())));
        }
        let replacing = CertVariables::from_env();
        let trust = Trust {
            provider: provider.clone(),
            replaces_system: replacing.is_some(),
            extra_roots: self.extra_roots.clone(),
        };
        if replacing.is_none() && self.root_files.is_empty() {
            return trust
                .verifier(Vec::new())
                .map_err(|error| tls_error(PemError::Tls(error)));
        }
        let (variables, files) = (replacing.clone(), self.root_files.clone());
        let read = Watched::new(move || {
            let replacing = variables.as_ref().map(CertVariables::read);
            let each = files.iter().map(|path| roots_in(path));
            let all = replacing.into_iter().chain(each);
            Ok(all.collect::<Result<Vec<_>, _>>()?.concat())
        });
        let roots = read.read().map_err(|error| {
            let variable = replacing.as_ref().and_then(|it| it.naming(error.path()));
            let problem = match variable {
                Some(variable) => format!("{}, and {variable} names it", error.message()),
                None => error.message(),
            };
            SetupError::new(SetupErrorKind::Tls, problem).with_file(error)
        })?;
        // Sets the baseline: the first connection looks for changes since now.
        read.written(roots.clone());
        let verifier = trust
            .verifier(roots)
            .map_err(|error| tls_error(PemError::Tls(error)))?;
        Ok(Arc::new(FollowingVerifier {
            trust,
            read,
            current: RwLock::new((0, verifier)),
        }))
    }
}

/// The trusted certificates that do not come from files.
#[derive(Debug)]
struct Trust {
    provider: Arc<CryptoProvider>,
    replaces_system: bool,
    extra_roots: Certificates,
}

impl Trust {
    fn verifier(&self, files: Certificates) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
        let roots = self.extra_roots.iter().cloned().chain(files);
        let provider = self.provider.clone();
        if !self.replaces_system {
            return Ok(Arc::new(Verifier::new_with_extra_roots(roots, provider)?));
        }
        let mut store = RootCertStore::empty();
        // Bundles hold old certificates that cannot be parsed; the others still count.
        let (_used, _unusable) = store.add_parsable_certificates(roots);
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
            .build()
            .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
            .map_err(|error| rustls::Error::General(error.to_string()))
    }
}

/// A verifier that is made anew when its files change.
struct FollowingVerifier {
    trust: Trust,
    read: Watched<Certificates>,
    /// The epoch of the files, and the verifier made from them.
    current: RwLock<(u64, Arc<dyn ServerCertVerifier>)>,
}

impl FollowingVerifier {
    fn current(&self) -> Arc<dyn ServerCertVerifier> {
        let (epoch, roots) = self.read.latest();
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let (known, verifier) = (current.0, current.1.clone());
        drop(current);
        let Some(roots) = roots.filter(|_| epoch != known) else {
            return verifier;
        };
        match self.trust.verifier(roots) {
            Ok(verifier) => {
                tracing::info!(
                    "the root certificates have changed: the new ones are used from now on"
                );
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = (epoch, verifier.clone());
                verifier
            }
            Err(error) => {
                tracing::warn!(
                    error = %Report::new(&error),
                    "the new root certificates cannot be used: the old ones stay in use"
                );
                // The same files are not tried again before they change.
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = (epoch, verifier.clone());
                verifier
            }
        }
    }
}

impl ServerCertVerifier for FollowingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.current().verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, algorithms(&self.trust.provider))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, algorithms(&self.trust.provider))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms(&self.trust.provider).supported_schemes()
    }
}

impl fmt::Debug for FollowingVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowingVerifier").finish_non_exhaustive()
    }
}

fn algorithms(provider: &CryptoProvider) -> &rustls::crypto::WebPkiSupportedAlgorithms {
    &provider.signature_verification_algorithms
}

/// Accepts any certificate. The server must still prove that it owns the key.
#[derive(Debug)]
struct AcceptsAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptsAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, algorithms(&self.0))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, algorithms(&self.0))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms(&self.0).supported_schemes()
    }
}

/// The client certificate for servers that ask for one.
enum ClientIdentity {
    Given(Arc<CertifiedKey>),
    Files(Watched<IdentityPem>),
}

impl ResolvesClientCert for ClientIdentity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        match self {
            Self::Given(key) => Some(key.clone()),
            Self::Files(files) => {
                let pem = files.latest().1?;
                // `identity_in` has made a key of this pair before.
                certified(&pem.chain, &pem.key).ok().map(Arc::new)
            }
        }
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity")
    }
}

fn tls_error(error: impl Into<PemError>) -> SetupError {
    match error.into() {
        PemError::File(error) => {
            SetupError::new(SetupErrorKind::Tls, error.message()).with_file(error)
        }
        PemError::Tls(error) => {
            SetupError::new(SetupErrorKind::Tls, "TLS cannot be set up").with_source(error)
        }
        error => error.in_text("TLS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unusable_new_certificates_are_ignored_once() {
        let fake = runai_fake::RunaiFake::builder().tls(true).start();
        let fake = fake.await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write(fake.ca_pem().unwrap());
        let path = file.clone();
        let read = Watched::new(move || roots_in(&path)).looking_always();
        let roots = read.read().unwrap();
        read.written(roots.clone());
        let trust = Trust {
            provider: Arc::new(ring::default_provider()),
            replaces_system: true,
            extra_roots: Vec::new(),
        };
        let verifier = trust.verifier(roots).unwrap();
        let following = FollowingVerifier {
            trust,
            read,
            current: RwLock::new((0, verifier.clone())),
        };
        // Valid PEM, but not a certificate.
        let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        write(text);
        assert!(Arc::ptr_eq(&following.current(), &verifier));
        let seen = following.current.read().unwrap().0;
        assert_eq!(seen, following.read.epoch(), "it would be warned of again");
        write(fake.ca_pem().unwrap());
        assert!(!Arc::ptr_eq(&following.current(), &verifier));
    }
}
