//! A running proxy: its listeners, and the tasks that run as long as it does.

use std::{future::poll_fn, net::IpAddr, sync::Arc, time::Duration};

use metrics_exporter_prometheus::PrometheusHandle;
use runai_auth::Auth;
use serde_json::{Map, Value};
use tokio::{net::TcpListener, time::sleep};

use super::{
    admin::{self, Admin},
    connection::{self, Limits},
    forward::Proxy,
    guard::{Filter, Guard, HostRule},
    listen::{Accept, Address, Listener, after_failed_accept},
    metrics::Metrics,
    setup::Setup,
    stopping::Stopping,
};
use crate::failure::Failure;

/// How often the histograms' samples are merged while nothing scrapes them.
const UPKEEP: Duration = Duration::from_secs(5);

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Server {
    url: String,
    admin: Option<String>,
    health: Option<String>,
    stopping: Stopping,
}

impl Server {
    /// Starts a proxy. Without `--lazy`, it fetches a token first and listens only if that succeeds.
    pub(crate) async fn start(auth: Auth, setup: Setup<'_>) -> Result<Self, Failure> {
        if !setup.rules.lazy {
            auth.cache().token().await?;
        }
        let listener = Listener::bind(&setup.listen).await?;
        let url = listener.url();
        let mut hosts = setup.allow_host;
        hosts.extend(own_names(&listener));
        let is_socket = listener.tcp_address().is_none();
        let guard = Guard::new(hosts, is_socket, setup.key, setup.filter);

        let stopping = Stopping::new(setup.grace);
        if let Some(metrics) = &setup.metrics {
            tokio::spawn(upkeep(metrics.clone()));
        }
        let admin = Arc::new(Admin {
            auth: auth.clone(),
            metrics: setup.metrics,
            stopping: stopping.clone(),
        });
        let health_url = match &setup.health {
            Some(address) => Some(serve_admin(address, admin.clone(), false).await?),
            None => None,
        };
        let admin_url = match &setup.admin {
            Some(address) => Some(serve_admin(address, admin, true).await?),
            None => None,
        };

        let metrics = Arc::new(Metrics::new());
        let proxy = Proxy::new(&auth, guard, setup.rules, metrics, stopping.clone())?;
        let limits = Arc::new(Limits::new(setup.rules));
        keep_warm(auth, setup.rules.lazy);
        stopping.spawn(accept(listener, Arc::new(proxy), limits));
        Ok(Self {
            url,
            admin: admin_url,
            health: health_url,
            stopping,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the line that tells programs where the proxy listens.
    pub(crate) fn ready_line(&self) -> Value {
        let mut line = Map::new();
        line.insert("listening".into(), self.url.as_str().into());
        for (name, url) in [("admin", &self.admin), ("health", &self.health)] {
            if let Some(url) = url {
                line.insert(name.into(), url.as_str().into());
            }
        }
        Value::Object(line)
    }

    /// Stops accepting, and waits until the requests in flight are finished or the grace is over.
    pub(crate) async fn stop(self) {
        self.stopping.stop().await;
    }
}

/// Returns the names of the listener's own address.
fn own_names(listener: &Listener) -> Vec<HostRule> {
    let names = ["127.0.0.1", "localhost", "[::1]"];
    match listener.tcp_address() {
        Some(address) => {
            let port = Some(address.port());
            let own = HostRule::new(
                match address.ip() {
                    IpAddr::V4(ip) => ip.to_string(),
                    IpAddr::V6(ip) => format!("[{ip}]"),
                },
                port,
            );
            let names = names.iter().map(|name| HostRule::new(*name, port));
            names.chain([own]).collect()
        }
        // A browser's page cannot reach a socket, but the check is cheap.
        None => names
            .iter()
            .chain(&["unix", "runai-auth"])
            .map(|name| HostRule::new(*name, None))
            .collect(),
    }
}

async fn upkeep(metrics: PrometheusHandle) {
    loop {
        sleep(UPKEEP).await;
        metrics.run_upkeep();
    }
}

/// Serves the admin's paths, or only the probes if `guarded` is false. Returns the URL.
async fn serve_admin(
    address: &Address,
    admin: Arc<Admin>,
    guarded: bool,
) -> Result<String, Failure> {
    let listener = Listener::bind(address).await?;
    let url = listener.url();
    let guard = guarded.then(|| {
        let hosts = own_names(&listener);
        Arc::new(Guard::new(hosts, false, None, Filter::default()))
    });
    let listener: TcpListener = match listener {
        Listener::Tcp(listener, _) => listener,
        #[cfg(unix)]
        Listener::Unix(..) => {
            return Err(Failure::usage(
                "probes and metrics need a TCP address",
                "Write ADDRESS:PORT",
            ));
        }
    };
    tokio::spawn(admin::serve(listener, admin, guard));
    Ok(url)
}

/// Keeps the token fresh, so that a proxy without requests recovers from an outage by itself. With `--lazy`, this
/// begins after the first refresh.
fn keep_warm(auth: Auth, lazy: bool) {
    if !lazy {
        auth.cache().keep_warm();
        return;
    }
    let mut refreshes = auth.cache().subscribe();
    tokio::spawn(async move {
        if refreshes.next().await.is_some() {
            auth.cache().keep_warm();
        }
    });
}

/// Accepts connections until the proxy stops. Then the socket closes, and its file is removed.
async fn accept(listener: Listener, proxy: Arc<Proxy>, limits: Arc<Limits>) {
    match listener {
        Listener::Tcp(listener, _) => accept_from(listener, proxy, limits).await,
        #[cfg(unix)]
        Listener::Unix(listener, _socket) => accept_from(listener, proxy, limits).await,
    }
}

async fn accept_from<L: Accept>(listener: L, proxy: Arc<Proxy>, limits: Arc<Limits>) {
    let serve = |stream| {
        let serving = connection::serve(stream, proxy.clone(), limits.clone());
        proxy.stopping.spawn(serving);
    };
    loop {
        let accepted = tokio::select! {
            accepted = poll_fn(|cx| listener.poll_next(cx)) => accepted,
            () = proxy.stopping.begun() => break,
        };
        match accepted {
            Ok(stream) => serve(stream),
            Err(error) => after_failed_accept(&error).await,
        }
    }
    // Connections that were waiting when the listener closed are served too.
    for stream in listener.rest() {
        serve(stream);
    }
}
