//! Where the proxy listens: an address of this machine, or a socket's path.

use std::{
    env, fmt, io, iter,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

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
                    format!("{flag}: `{text}` is no address"),
                    "Write unix:PATH, or 127.0.0.1:PORT, where 0 is any free port",
                )
            })
    }

    /// The socket of the person who is logged in.
    pub(crate) fn default_socket() -> Result<Self, Failure> {
        match env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => Ok(Self::Unix(PathBuf::from(dir).join("runai-auth.sock"))),
            None => Err(Failure::usage(
                "it is not told where to listen, and XDG_RUNTIME_DIR is not set",
                "Give --listen 127.0.0.1:PORT or --listen unix:PATH",
            )),
        }
    }
}

/// A socket that connections come to.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener, SocketAddr),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, Socket),
}

/// A socket's file, which is removed in the end, if it still is ours.
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
            // One that stays is removed by the next proxy, which finds nobody behind it.
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
                io::ErrorKind::AddrInUse => (OTHER, "End what listens there, or choose another"),
                _ => (OTHER, "Choose an address of this machine"),
            };
            Failure::new(code, format!("listening on {address}: {error}"), hint)
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
                // Only who runs the proxy may connect, from the first moment on.
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
                "this system has no unix sockets here",
                "Give --listen 127.0.0.1:PORT",
            )),
        }
    }

    /// How it is written where it can be read by programs.
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

/// What both kinds of sockets do.
pub(crate) trait Accept: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<io::Result<Self::Stream>>;

    /// Closes the listener, and takes those that had come before. The system is asked itself: what the
    /// runtime knows of a listener is as old as its last look.
    fn rest(self) -> Vec<Self::Stream>;
}

/// More than any system keeps waiting. It only ends the taking where callers go on connecting meanwhile.
const BACKLOG: usize = 65_536;

impl Accept for TcpListener {
    type Stream = TcpStream;

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        let (stream, _) = ready!(self.poll_accept(cx))?;
        // Small answers must not wait for the caller's acknowledgement.
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

/// Removes a socket that nobody listens on any more.
#[cfg(unix)]
async fn remove_stale(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;

    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.file_type().is_socket() {
        let error = "there is a file that is no socket";
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
    async fn those_that_have_come_are_taken_before_the_listener_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Now the runtime believes that nobody is there, until it looks again.
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
