//! The network: the default HTTP client, its connections, TLS, and forward proxies.

mod cert_variables;
mod client;
mod connection;
mod error;
mod pem;
mod proxy;
mod resolver;
mod settings;
mod tls;

pub use self::{
    client::{HttpClient, HttpResponseFuture},
    connection::Connection,
    error::HttpError,
};
pub(crate) use self::{
    connection::connect,
    error::transport,
    proxy::{ProxyError, ProxyRule},
    resolver::UnknownHost,
    settings::Network,
};
