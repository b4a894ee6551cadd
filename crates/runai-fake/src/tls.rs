//! TLS: a CA that each fake makes for itself, and the certificates that it issues.

use std::{io, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

/// The certificates and keys, in PEM.
#[derive(Clone)]
pub(crate) struct Pem {
    pub(crate) ca: String,
    /// The server's certificate and key.
    pub(crate) server: (String, String),
    /// A client's certificate and key.
    pub(crate) client: (String, String),
}

/// Makes a CA and an acceptor. With `client_certificate`, clients must show a certificate of this CA.
pub(crate) fn acceptor(client_certificate: bool) -> io::Result<(TlsAcceptor, Pem)> {
    let (certificate, key, ca, pem) = certificates().map_err(io::Error::other)?;
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = match client_certificate {
        false => config.with_no_client_auth(),
        true => {
            let mut roots = RootCertStore::empty();
            roots.add(ca).map_err(io::Error::other)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(io::Error::other)?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let mut config = config
        .with_single_cert(vec![certificate], key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), pem))
}

type Certificates = (
    CertificateDer<'static>,
    PrivateKeyDer<'static>,
    CertificateDer<'static>,
    Pem,
);

fn certificates() -> Result<Certificates, rcgen::Error> {
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    ca.distinguished_name
        .push(DnType::CommonName, "runai-fake test CA");
    let ca_key = KeyPair::generate()?;
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let names = ["localhost", "127.0.0.1", "::1", "runai-fake.example"].map(str::to_owned);
    let leaf_key = KeyPair::generate()?;
    let leaf = CertificateParams::new(names)?.signed_by(&leaf_key, &issuer)?;
    let client_key = KeyPair::generate()?;
    let mut client = CertificateParams::new(Vec::new())?;
    client
        .distinguished_name
        .push(DnType::CommonName, "runai-fake test client");
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let client = client.signed_by(&client_key, &issuer)?;

    let pem = Pem {
        ca: ca_certificate.pem(),
        server: (leaf.pem(), leaf_key.serialize_pem()),
        client: (client.pem(), client_key.serialize_pem()),
    };
    let key = PrivatePkcs8KeyDer::from(leaf_key.serialize_der());
    Ok((
        leaf.der().clone(),
        key.into(),
        ca_certificate.der().clone(),
        pem,
    ))
}
