//! Shows a daemon that polls the control plane for months.
//!
//! ```text
//! cargo run --example daemon
//! ```
//!
//! It keeps its token warm, and reads its secret from a file that is rotated while it runs. It reports at
//! `/readyz`, `/livez` and `/metrics`, and in a log on stderr. On SIGTERM it turns unready, finishes the poll
//! in progress, and ends.
//!
//! Without `RUNAI_*` variables it plays a story on a fake control plane on loopback; that needs a Unix. With
//! them it polls that control plane until SIGTERM or Ctrl-C, and listens on 127.0.0.1:8081 or on the address
//! in its argument.
//!
//! The exit status is 0 only if everything went as expected.

#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{
    env, io,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use runai_auth::{
    Auth, BoxError, Client,
    tower_bearer::{Outcome, Reason, Report, Subscription},
};
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};
use tower::ServiceExt;
use tracing::{info, warn};

#[path = "daemon/story.rs"]
mod story;

/// The time between two polls.
const EVERY: Duration = Duration::from_secs(30);

/// The time-out of a poll. The client itself has none.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    let variables = [
        "RUNAI_BASE_URL",
        "RUNAI_CLIENT_ID",
        "RUNAI_CLIENT_SECRET",
        "RUNAI_CLIENT_SECRET_FILE",
    ];
    let ended = if variables
        .iter()
        .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
    {
        poll_a_control_plane().await
    } else {
        timeout(Duration::from_secs(30), story::play())
            .await
            .unwrap_or_else(|_| Err("the story did not end".into()))
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {}", Report::new(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Polls the control plane that the environment names.
async fn poll_a_control_plane() -> Result<(), BoxError> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8081".into());
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let stop = stop_signal()?;
    let daemon = Daemon::new(Auth::from_env()?)?;
    println!(
        "polls {}; status at http://{address}",
        daemon.auth.control_plane().base()
    );
    daemon.clone().run(EVERY, listener, stop).await?;
    println!("summary: {}", daemon.summary());
    Ok(())
}

/// Listens for SIGTERM, which an orchestrator sends, and for Ctrl-C. The future ends when one comes.
fn stop_signal() -> io::Result<impl Future<Output = ()> + Send> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        Ok(async move {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        let mut interrupted = tokio::signal::windows::ctrl_c()?;
        Ok(async move {
            interrupted.recv().await;
        })
    }
}

#[derive(Clone)]
struct Daemon {
    auth: Auth,
    api: Client<Empty<Bytes>>,
    metrics: PrometheusHandle,
    stopping: watch::Sender<bool>,
    polls: Arc<Polls>,
}

#[derive(Default)]
struct Polls {
    all: AtomicU64,
    failed: AtomicU64,
}

impl Daemon {
    fn new(auth: Auth) -> Result<Self, BoxError> {
        Ok(Self {
            api: auth.client()?,
            auth,
            metrics: PrometheusBuilder::new().install_recorder()?,
            stopping: watch::Sender::new(false),
            polls: Arc::default(),
        })
    }

    /// Polls until `stop` ends.
    async fn run(
        self,
        every: Duration,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), BoxError> {
        tokio::spawn(log(self.auth.cache().subscribe()));
        self.auth.cache().keep_warm();

        let (over, mut ended) = watch::channel(false);
        let router = Router::new()
            .route("/readyz", get(ready))
            .route("/livez", get(alive))
            .route("/metrics", get(metrics))
            .with_state(self.clone());
        let server = axum::serve(listener, router).with_graceful_shutdown(async move {
            // It fails if the polling has panicked, and then the server must end too.
            let _over = ended.wait_for(|over| *over).await;
        });
        let server = tokio::spawn(server.into_future());
        let stopping = self.stopping.clone();
        tokio::spawn(async move {
            stop.await;
            info!("stopping");
            stopping.send_replace(true);
        });

        self.poll_until_stopped(every).await?;
        // The server ends last, so that a probe gets an answer instead of a closed port.
        over.send_replace(true);
        server.await??;
        info!("ended");
        Ok(())
    }

    async fn poll_until_stopped(&self, every: Duration) -> Result<(), BoxError> {
        let mut stopping = self.stopping.subscribe();
        let mut due = interval(every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // A stop ends the pause, but not a poll in progress.
            tokio::select! {
                biased;
                stopped = stopping.wait_for(|stopping| *stopping) => {
                    stopped?;
                    return Ok(());
                }
                _ = due.tick() => {}
            }
            self.polls.all.fetch_add(1, Relaxed);
            let polled = timeout(LIMIT, self.poll()).await;
            match polled.unwrap_or_else(|_| Err("time-out".into())) {
                Ok(clusters) => info!(bytes = clusters.len(), "polled"),
                Err(error) => {
                    self.polls.failed.fetch_add(1, Relaxed);
                    warn!(error = %Report::new(&*error), "poll failed");
                }
            }
            // Without this, the histograms' samples would pile up while nobody scrapes.
            self.metrics.run_upkeep();
        }
    }

    async fn poll(&self) -> Result<Bytes, BoxError> {
        let request = Request::get(self.auth.url("/api/v1/clusters")?).body(Empty::new())?;
        let response = self.api.clone().oneshot(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        match status.is_success() {
            true => Ok(body),
            false => Err(format!("the control plane answered {status}").into()),
        }
    }

    fn summary(&self) -> String {
        let counts = self.auth.status().counts;
        format!(
            "polls={} failed={} token_fetches={} refreshes_ahead={} rejections={} retried={}",
            self.polls.all.load(Relaxed),
            self.polls.failed.load(Relaxed),
            counts.fetches,
            counts.refreshes.of(Reason::Ahead),
            counts.rejections,
            counts.retries,
        )
    }
}

async fn ready(State(daemon): State<Daemon>) -> Response {
    let reason = if *daemon.stopping.borrow() {
        "stopping".into()
    } else if daemon.auth.is_ready() {
        return Json(json!({"ready": true})).into_response();
    } else {
        match &daemon.auth.status().last_error {
            Some(error) => format!("{error:#}"),
            None => "no token yet; a fetch is in progress".into(),
        }
    };
    let body = Json(json!({"ready": false, "reason": reason}));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

/// Always answers 200: a restart would not bring a token.
async fn alive(State(daemon): State<Daemon>) -> String {
    daemon.summary()
}

async fn metrics(State(daemon): State<Daemon>) -> String {
    daemon.metrics.render()
}

/// Logs the outcome of each refresh. Ends when the last handle of the cache is dropped.
async fn log(mut events: Subscription) {
    while let Some(event) = events.next().await {
        let (reason, took_ms) = (event.reason, event.took.as_millis());
        match event.outcome {
            Outcome::Refreshed { generation, .. } => info!(%reason, took_ms, generation, "refresh"),
            Outcome::Failed(error) => {
                warn!(%reason, took_ms, error = format!("{error:#}"), "refresh")
            }
            other => info!(%reason, took_ms, outcome = other.as_str(), "refresh"),
        }
    }
}
