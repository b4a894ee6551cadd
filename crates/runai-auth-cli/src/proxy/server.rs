//! The proxy as a whole: what it listens on, and what runs as long as it does.

use std::{future::poll_fn, io, sync::Arc, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use runai_auth::{Auth, tower_bearer::Outcome};
use serde_json::{Map, Value};
use tokio::{net::TcpListener, time::sleep};
use tracing::{info, warn};

use super::{
    admin::{self, Admin},
    args::RuleArgs,
    connection::{self, Limits},
    counts::Counts,
    drain::{self, Ending},
    forward::Proxy,
    guard::{Filter, Guard, HostRule},
    key::Key,
    listen::{Accept, Address, Listener},
};
use crate::failure::{Failure, OTHER};

/// How often the histograms' samples are put together while nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a proxy is made of.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) listen: Address,
    pub(crate) admin: Option<Address>,
    pub(crate) health: Option<Address>,
    pub(crate) key: Option<Key>,
    pub(crate) allow_host: Vec<HostRule>,
    /// What the token's cache measures, where it is told. It is set up before the cache.
    pub(crate) metrics: Option<PrometheusHandle>,
    pub(crate) filter: Filter,
    pub(crate) rules: &'a RuleArgs,
}

/// A proxy that serves.
#[derive(Debug)]
pub(crate) struct Server {
    url: String,
    admin: Option<String>,
    health: Option<String>,
    ending: Ending,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts one. Without `--lazy` there is a token first, or nothing listens.
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

        let ending = drain::ending();
        let counts = Arc::new(Counts::new());
        let admin = Arc::new(Admin {
            auth: auth.clone(),
            counts: counts.clone(),
            metrics: setup.metrics,
            stopping: ending.stopping(),
        });
        let health_url = match &setup.health {
            Some(address) => Some(serve_admin(address, admin.clone(), false).await?),
            None => None,
        };
        let admin_url = match &setup.admin {
            Some(address) => Some(serve_admin(address, admin.clone(), true).await?),
            None => None,
        };
        if admin.metrics.is_some() {
            tokio::spawn(upkeep(admin));
        }

        let proxy = Proxy::new(&auth, guard, setup.rules, counts, ending.stopping())?;
        let limits = Arc::new(Limits::new(setup.rules));
        let accepting = tokio::spawn(accept(listener, Arc::new(proxy), limits));
        keep_warm(auth, setup.rules.lazy);
        Ok(Self {
            url,
            admin: admin_url,
            health: health_url,
            ending,
            accepting,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What programs read to know where it is.
    pub(crate) fn ready_line(&self) -> String {
        let mut line = Map::new();
        line.insert("listening".into(), self.url.as_str().into());
        for (name, url) in [("admin", &self.admin), ("health", &self.health)] {
            if let Some(url) = url {
                line.insert(name.into(), url.as_str().into());
            }
        }
        Value::Object(line).to_string()
    }

    /// Lets nothing more in, and waits until the requests in flight are finished, or the grace is over.
    pub(crate) async fn stop(self, grace: Duration) {
        self.ending.stop(grace).await;
        self.accepting.abort();
    }
}

/// The names of the proxy's own address.
fn own_names(listener: &Listener) -> Vec<HostRule> {
    let names = ["127.0.0.1", "localhost", "[::1]"];
    match listener.tcp_address() {
        Some(address) => {
            let port = Some(address.port());
            let own = HostRule::new(
                match address.ip() {
                    std::net::IpAddr::V4(ip) => ip.to_string(),
                    std::net::IpAddr::V6(ip) => format!("[{ip}]"),
                },
                port,
            );
            let names = names.iter().map(|name| HostRule::new(*name, port));
            names.chain([own]).collect()
        }
        // No page of a browser's gets at a socket, but names that mean nothing are cheap to refuse.
        None => names
            .iter()
            .chain(&["unix", "runai-auth"])
            .map(|name| HostRule::new(*name, None))
            .collect(),
    }
}

/// A recorder of what the token's cache measures.
pub(crate) fn recorder() -> Result<PrometheusHandle, Failure> {
    PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| {
            Failure::new(
                OTHER,
                format!("the metrics cannot be recorded: {error}"),
                "",
            )
        })
}

async fn upkeep(admin: Arc<Admin>) {
    loop {
        sleep(UPKEEP).await;
        if let Some(metrics) = &admin.metrics {
            metrics.run_upkeep();
        }
    }
}

/// Serves the admin, or only probes if it is not guarded; where, is the answer.
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
                "probes and metrics are served over TCP only",
                "Write ADDRESS:PORT",
            ));
        }
    };
    tokio::spawn(admin::serve(listener, admin, guard));
    Ok(url)
}

/// Keeps a token there, so that a proxy that is not ready, and gets no requests, gets well without any.
/// With `--lazy` it begins when the first was asked for.
fn keep_warm(auth: Auth, lazy: bool) {
    if !lazy {
        auth.cache().keep_warm();
    }
    tokio::spawn(async move {
        let mut events = auth.cache().subscribe();
        let mut is_warm = !lazy;
        while let Some(event) = events.next().await {
            if !is_warm {
                auth.cache().keep_warm();
                is_warm = true;
            }
            match event.outcome {
                Outcome::Refreshed { generation, .. } => {
                    info!(generation, reason = %event.reason, "there is another token");
                }
                Outcome::Failed(error) => {
                    let failure = Failure::from(error);
                    warn!(reason = %event.reason, error = failure.error(), "no token was got");
                }
                other => {
                    info!(reason = %event.reason, outcome = other.as_str(), "no token was got")
                }
            }
        }
    });
}

/// Takes connections until the proxy stops. Then the socket is closed, and its file removed.
async fn accept(listener: Listener, proxy: Arc<Proxy>, limits: Arc<Limits>) {
    match listener {
        Listener::Tcp(listener, _) => accept_from(listener, proxy, limits).await,
        #[cfg(unix)]
        Listener::Unix(listener, _socket) => accept_from(listener, proxy, limits).await,
    }
}

async fn accept_from<L: Accept>(listener: L, proxy: Arc<Proxy>, limits: Arc<Limits>) {
    // Held until no more connections come, so that none is forgotten in between.
    let _live = proxy.stopping.live();
    let serve = |stream| {
        let live = proxy.stopping.live();
        tokio::spawn(connection::serve(
            stream,
            proxy.clone(),
            limits.clone(),
            live,
        ));
    };
    loop {
        let accepted = tokio::select! {
            accepted = poll_fn(|cx| listener.poll_next(cx)) => accepted,
            _grace = proxy.stopping.told() => break,
        };
        match accepted {
            Ok(stream) => serve(stream),
            Err(error) => after_failure(&error).await,
        }
    }
    // Those that had come before the listener is closed are served too.
    for stream in listener.rest() {
        serve(stream);
    }
}

/// A connection that is gone before it was taken is its caller's business; but with no descriptors left
/// the next failure would come at once.
pub(crate) async fn after_failure(error: &io::Error) {
    let is_callers = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::InvalidInput
    );
    if !is_callers {
        warn!(%error, "no connection can be taken");
        sleep(Duration::from_millis(50)).await;
    }
}
