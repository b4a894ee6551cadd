//! A control plane that speaks HTTP/2 frame by frame: it issues a token, and says whatever it likes when it goes away.

use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer},
};

pub(crate) const TOKEN: &str = "t0k3n-abcdefgh1234";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// The server, to the end of the test.
pub(crate) struct H2Server {
    pub(crate) url: String,
    /// Its certificate, which is its own CA.
    pub(crate) pem: String,
}

impl H2Server {
    /// Starts one whose certificate has this name, and that answers a GET with a GOAWAY frame that holds `said`.
    pub(crate) async fn start(name: &str, said: &str) -> Self {
        Self::answering(name, said, false).await
    }

    /// Starts one that says it in the middle of an answer.
    pub(crate) async fn start_breaking_off(said: &str) -> Self {
        Self::answering("server", said, true).await
    }

    async fn answering(name: &str, said: &str, begins: bool) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let names = &mut certificate.distinguished_name;
        names.push(DnType::CommonName, name);
        let certificate = certificate.self_signed(&key).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let said = said.to_owned();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, said) = (acceptor.clone(), said.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        // The client may leave at any time.
                        let _served = serve(stream, &said, begins).await;
                    }
                });
            }
        });
        Self {
            url,
            pem: certificate.pem(),
        }
    }
}

async fn serve<S>(mut stream: S, said: &str, begins: bool) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    write(&mut stream, SETTINGS, 0, 0, b"").await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, rest @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        let id = u32::from_be_bytes(rest);
        match (kind, flags & END_STREAM != 0) {
            (SETTINGS, false) => write(&mut stream, SETTINGS, ACK, 0, b"").await?,
            (DATA, true) => {
                // `:status: 200`, from the static table.
                write(&mut stream, HEADERS, END_HEADERS, id, &[0x88]).await?;
                let body = format!(r#"{{"accessToken":"{TOKEN}","expiresIn":3600}}"#);
                write(&mut stream, DATA, END_STREAM, id, body.as_bytes()).await?;
            }
            (HEADERS, true) => {
                if begins {
                    write(&mut stream, HEADERS, END_HEADERS, id, &[0x88]).await?;
                    write(&mut stream, DATA, 0, id, b"a piece").await?;
                }
                // No stream was processed; the code is INTERNAL_ERROR.
                let mut payload = vec![0, 0, 0, 0, 0, 0, 0, 2];
                payload.extend(said.as_bytes());
                write(&mut stream, GOAWAY, 0, 0, &payload).await?;
                return stream.shutdown().await;
            }
            _ => {}
        }
    }
}

async fn write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    kind: u8,
    flags: u8,
    id: u32,
    payload: &[u8],
) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(id.to_be_bytes());
    frame.extend(payload);
    stream.write_all(&frame).await?;
    stream.flush().await
}
