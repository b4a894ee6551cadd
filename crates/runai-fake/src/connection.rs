//! One TCP connection, which the one who answers can break.

use std::{io, sync::Arc, time::Duration};

use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use socket2::SockRef;
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::TlsAcceptor;

use crate::{handler, state::State};

/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A handle to a connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    broken: Arc<watch::Sender<bool>>,
}

impl Connection {
    /// Resets the connection: the peer sees it break, not end.
    pub(crate) fn reset(&self) {
        self.broken.send_replace(true);
    }
}

/// Serves one connection until it ends, is broken, or the server stops.
pub(crate) async fn serve(
    stream: TcpStream,
    id: u64,
    tls: Option<TlsAcceptor>,
    state: Arc<State>,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    // A second descriptor of the same socket: whatever happens to the first, this one is closed last.
    let socket = stream.try_clone()?;
    let stream = TcpStream::from_std(stream)?;
    let (broken, mut is_broken) = watch::channel(false);
    let connection = Connection {
        id,
        broken: Arc::new(broken),
    };
    let handle = connection.clone();
    let service = service_fn(move |request: http::Request<Incoming>| {
        handler::answer(state.clone(), connection.clone(), request)
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    // What a client does wrong, or a broken connection, ends the connection and nothing else.
    let serving = async {
        match tls {
            None => drop(
                builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            ),
            Some(tls) => {
                if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                    drop(
                        builder
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                }
            }
        }
    };
    let reset = tokio::select! {
        () = serving => false,
        // It ends without a value only with its sender, which this function holds.
        _ = is_broken.wait_for(|broken| *broken) => true,
        _ = stopped.wait_for(|stopped| *stopped) => false,
    };
    drop(handle);
    if reset {
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}
