//! One connection, to see whether the control plane can be reached.

use std::net::SocketAddr;

use http::Uri;
use hyper_rustls::MaybeHttpsStream;
use tokio::net::TcpStream;
use tower::ServiceExt;
use tower_bearer::BoxError;

use super::settings::{HttpVersions, Network};

/// What a test connection to a control plane showed, for diagnosis.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Connection {
    /// The address at the other end: the control plane's, or a forward proxy's.
    pub peer: Option<SocketAddr>,
    /// The server's certificate, in DER, which was found valid; `None` without TLS.
    pub certificate: Option<Vec<u8>>,
}

/// Connects once.
pub(crate) async fn connect(network: &Network, uri: Uri) -> Result<Connection, BoxError> {
    let connector = network.connector(HttpVersions::Both)?;
    let stream = connector.oneshot(uri).await?;
    let peer = |stream: &TcpStream| stream.peer_addr().ok();
    Ok(match &stream {
        MaybeHttpsStream::Http(stream) => Connection {
            peer: peer(stream.inner()),
            certificate: None,
        },
        MaybeHttpsStream::Https(stream) => {
            let (tcp, tls) = stream.inner().get_ref();
            let chain = tls.peer_certificates().unwrap_or_default();
            Connection {
                peer: peer(tcp.inner().inner()),
                certificate: chain.first().map(|it| it.as_ref().to_vec()),
            }
        }
    })
}
