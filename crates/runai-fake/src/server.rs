//! The listening server: accepts connections, serves each of them, and stops.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Mutex, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    connection::{Connection, Ending},
    route,
    state::State,
};

/// The time that a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    /// The accept loop, until somebody has waited for its end.
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Serves the listener's connections on the current tokio runtime, over TLS if there is an acceptor.
    pub(crate) fn start(
        listener: TcpListener,
        acceptor: Option<TlsAcceptor>,
        state: Arc<State>,
    ) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let (stop, stopping) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, acceptor, state, stopping));
        Ok(Self {
            addr,
            stop,
            accepting: Mutex::new(Some(accepting)),
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops the server, and waits until its connections are closed.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        if let Some(accepting) = self.accepting.lock().await.take() {
            // It fails if the runtime has ended, and then the server has stopped too.
            let _ended = accepting.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    state: Arc<State>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut open = JoinSet::new();
    for id in 1.. {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        // A connection that breaks before it is accepted fails here. Only its client needs to know.
        if let Ok((stream, _)) = accepted {
            let state = state.clone();
            open.spawn(serve(
                stream,
                Connection::new(id),
                acceptor.clone(),
                state,
                stopping.clone(),
            ));
        }
        while open.try_join_next().is_some() {}
    }
    open.shutdown().await;
}

/// Serves one connection until it ends, a behaviour ends it, or the server stops.
async fn serve(
    stream: TcpStream,
    connection: Connection,
    acceptor: Option<TlsAcceptor>,
    state: Arc<State>,
    mut stopping: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    // A second descriptor of the same socket. It is closed after the first, so it decides how the
    // connection ends.
    let socket = stream.try_clone()?;
    let stream = TcpStream::from_std(stream)?;
    let serving = async {
        match acceptor {
            None => serve_http(stream, &connection, state).await,
            Some(acceptor) => {
                let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
                if let Ok(Ok(stream)) = handshake.await {
                    serve_http(stream, &connection, state).await;
                }
            }
        }
    };
    let ending = tokio::select! {
        () = serving => None,
        ending = connection.ending() => ending,
        _ = stopping.wait_for(|stop| *stop) => None,
    };
    if ending == Some(Ending::Reset) {
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}

async fn serve_http<S>(stream: S, connection: &Connection, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        route::respond(state.clone(), connection.clone(), request)
    });
    let stream = TokioIo::new(connection.flushes().wrap(stream));
    // A client's mistake or a broken connection ends this connection only.
    let _ended = auto::Builder::new(TokioExecutor::new())
        .serve_connection(stream, service)
        .await;
}
