//! The settings of the network, and the connector that follows them.

use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;

use super::{
    proxy::{ProxyConnector, ProxyRule},
    resolver::Resolver,
    tls::Tls,
};
use crate::error::SetupError;

/// How long an idle connection is kept.
pub(super) const IDLE: Duration = Duration::from_secs(90);

/// Which versions of HTTP a connection offers in its TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HttpVersions {
    Both,
    Http1Only,
}

/// How the network is reached.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) tls: Tls,
    pub(crate) connect_timeout: Duration,
    pub(crate) proxy: ProxyRule,
    /// Whether the control plane's URL is `https`. A machine without any root certificates can still
    /// reach one that is not.
    pub(crate) needs_tls: bool,
}

impl Network {
    /// What one attempt to get a token may take as a whole.
    pub(crate) const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

    pub(crate) fn new(needs_tls: bool) -> Self {
        Self {
            tls: Tls::default(),
            connect_timeout: Self::DEFAULT_CONNECT_TIMEOUT,
            proxy: ProxyRule::Environment,
            needs_tls,
        }
    }

    /// Makes the connector: TCP and TLS, through a forward proxy where the rule names one.
    pub(super) fn connector(
        &self,
        versions: HttpVersions,
    ) -> Result<HttpsConnector<ProxyConnector>, SetupError> {
        let mut tcp = HttpConnector::new_with_resolver(Resolver::new());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(self.connect_timeout));
        tcp.set_keepalive(Some(IDLE));
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls.config(self.needs_tls)?)
            .https_or_http();
        let connector = ProxyConnector::new(tcp, &self.proxy);
        Ok(match versions {
            HttpVersions::Both => builder.enable_all_versions().wrap_connector(connector),
            HttpVersions::Http1Only => builder.enable_http1().wrap_connector(connector),
        })
    }
}
