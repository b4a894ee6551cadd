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

use crate::{flush_counter::Sent, route, state::State};

/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A handle to a connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    broken: Arc<watch::Sender<Option<Break>>>,
    sent: Sent,
}

/// How a connection is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    Reset,
    Close,
}

impl Connection {
    /// Resets the connection: the peer sees it break, not end.
    pub(crate) fn reset(&self) {
        self.broken.send_replace(Some(Break::Reset));
    }

    /// What is known of the bytes that go out.
    pub(crate) fn sent(&self) -> Sent {
        self.sent.clone()
    }

    /// Closes the connection: the peer sees it end.
    pub(crate) fn close(&self) {
        self.broken.send_replace(Some(Break::Close));
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
    let (broken, mut is_broken) = watch::channel(None);
    let connection = Connection {
        id,
        broken: Arc::new(broken),
        sent: Sent::default(),
    };
    let sent = connection.sent();
    let handle = connection.clone();
    let service = service_fn(move |request: http::Request<Incoming>| {
        route::answer(state.clone(), connection.clone(), request)
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    // What a client does wrong, or a broken connection, ends the connection and nothing else.
    let serving = async {
        match tls {
            None => drop(
                builder
                    .serve_connection(TokioIo::new(sent.wrap(stream)), service)
                    .await,
            ),
            Some(tls) => {
                if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                    drop(
                        builder
                            .serve_connection(TokioIo::new(sent.wrap(stream)), service)
                            .await,
                    );
                }
            }
        }
    };
    let how = tokio::select! {
        () = serving => None,
        // It ends without a value only with its sender, which this function holds.
        broken = is_broken.wait_for(Option::is_some) => broken.ok().and_then(|how| *how),
        _ = stopped.wait_for(|stopped| *stopped) => None,
    };
    drop(handle);
    if how == Some(Break::Reset) {
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}
