//! Where the proxy listens: an address of this machine, or the path of a socket.

use std::{
    env, fmt, io, iter,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tracing::warn;

use crate::failure::{Failure, OTHER};

/// An address as a person writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    pub(crate) fn parse(text: &str, flag: &str) -> Result<Self, Failure> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.is_empty() {
                true => Err(Failure::usage(
                    format!("{flag}: the socket has no path"),
                    "Write unix:PATH",
                )),
                false => Ok(Self::Unix(path.into())),
            };
        }
        let local = text.strip_prefix("localhost:").map(|port| {
            let port = port.parse().ok()?;
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
        });
        local
            .unwrap_or_else(|| text.parse().ok())
            .map(Self::Tcp)
            .ok_or_else(|| {
                Failure::usage(
                    format!("the value of {flag} is not an address"),
                    "Write unix:PATH or 127.0.0.1:PORT; port 0 picks a free one",
                )
            })
    }

    /// Returns the default: a socket in the runtime folder of the logged-in user.
    pub(crate) fn default_socket() -> Result<Self, Failure> {
        match env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => Ok(Self::Unix(PathBuf::from(dir).join("runai-auth.sock"))),
            None => Err(Failure::usage(
                "no address to listen on is given, and XDG_RUNTIME_DIR is not set",
                "Give --listen 127.0.0.1:PORT or --listen unix:PATH",
            )),
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener, SocketAddr),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, Socket),
}

/// A socket's file. Drop removes it if it is still the proxy's own.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    file: (u64, u64),
}

#[cfg(unix)]
impl Drop for Socket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // If this fails, the next proxy removes the file, because nothing listens on it.
            let _removed = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(unix)]
fn identity(path: &std::path::Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;

    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Listener {
    pub(crate) async fn bind(address: &Address) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            let (code, hint) = match error.kind() {
                io::ErrorKind::AddrInUse => (
                    OTHER,
                    "Stop the program that listens there, or choose another address",
                ),
                _ => (OTHER, "Choose an address of this machine"),
            };
            Failure::new(code, format!("cannot listen on {address}: {error}"), hint)
        };
        match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?;
                Ok(Self::Tcp(listener, address))
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                remove_stale(path).await.map_err(failed)?;
                // Only the user who runs the proxy may connect, from the first moment on.
                let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
                let bound = tokio::net::UnixListener::bind(path);
                rustix::process::umask(mask);
                let listener = bound.map_err(failed)?;
                let file = identity(path).map_err(failed)?;
                let path = path.clone();
                Ok(Self::Unix(listener, Socket { path, file }))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(Failure::usage(
                "this system has no unix sockets",
                "Give --listen 127.0.0.1:PORT",
            )),
        }
    }

    /// Returns the address as programs read it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Tcp(_, address) => format!("http://{address}"),
            #[cfg(unix)]
            Self::Unix(_, socket) => format!("unix:{}", socket.path.display()),
        }
    }

    pub(crate) fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            #[cfg(unix)]
            Self::Unix(..) => None,
        }
    }
}

/// What both kinds of listener can do.
pub(crate) trait Accept: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Stream>>;

    /// Closes the listener and returns the connections that were waiting. It asks the system, because the runtime may
    /// not know of them yet.
    fn rest(self) -> Vec<Self::Stream>;
}

/// More connections than any system keeps waiting. This ends the loop if callers keep connecting meanwhile.
const BACKLOG: usize = 65_536;

impl Accept for TcpListener {
    type Stream = TcpStream;

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        let (stream, _) = ready!(self.poll_accept(cx))?;
        // Otherwise small answers wait for the caller's acknowledgement.
        stream.set_nodelay(true)?;
        Poll::Ready(Ok(stream))
    }

    fn rest(self) -> Vec<TcpStream> {
        let taken = |(stream, _): (std::net::TcpStream, SocketAddr)| {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            TcpStream::from_std(stream)
        };
        let Ok(listener) = self.into_std() else {
            return Vec::new();
        };
        iter::from_fn(|| listener.accept().ok())
            .take(BACKLOG)
            .filter_map(|accepted| taken(accepted).ok())
            .collect()
    }
}

#[cfg(unix)]
impl Accept for tokio::net::UnixListener {
    type Stream = tokio::net::UnixStream;

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Stream>> {
        self.poll_accept(cx).map_ok(|(stream, _)| stream)
    }

    fn rest(self) -> Vec<Self::Stream> {
        let taken = |stream: std::os::unix::net::UnixStream| {
            stream.set_nonblocking(true)?;
            tokio::net::UnixStream::from_std(stream)
        };
        let Ok(listener) = self.into_std() else {
            return Vec::new();
        };
        iter::from_fn(|| listener.accept().ok())
            .take(BACKLOG)
            .filter_map(|(stream, _)| taken(stream).ok())
            .collect()
    }
}

/// Removes a socket on which nothing listens.
#[cfg(unix)]
async fn remove_stale(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;

    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.file_type().is_socket() {
        let error = "a file that is not a socket exists there";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, error));
    }
    match tokio::net::UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens there",
        )),
    }
}

/// Logs a failed accept, and waits if the cause lasts: without file descriptors, the next accept fails at once.
pub(crate) async fn after_failed_accept(error: &io::Error) {
    // The caller gave up before the connection was accepted.
    let is_callers = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::InvalidInput
    );
    if !is_callers {
        warn!(%error, "cannot accept a connection");
        sleep(Duration::from_millis(50)).await;
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_connections_are_accepted_before_the_listener_closes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Now the runtime believes that no connection is waiting, until it asks the system again.
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(Accept::poll_next(&listener, &mut context).is_pending());
        let _callers: Vec<_> = (0..3)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        assert_eq!(listener.rest().len(), 3);
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let parse = |text| Address::parse(text, "--listen");
        let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
        assert_eq!(parse("127.0.0.1:0").unwrap(), tcp("127.0.0.1:0"));
        assert_eq!(parse("localhost:80").unwrap(), tcp("127.0.0.1:80"));
        assert_eq!(parse("[::1]:80").unwrap(), tcp("[::1]:80"));
        assert_eq!(parse("unix:/a b").unwrap(), Address::Unix("/a b".into()));
        for text in [
            "",
            "8080",
            "127.0.0.1",
            "unix:",
            "localhost:x",
            "http://127.0.0.1:1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
