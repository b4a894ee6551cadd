//! Serves one connection: its time limits, and its end when the proxy is stopping.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Interval, MissedTickBehavior, interval},
};
use tracing::debug;

use super::{
    activity::{Activity, Timeouts, Verdict, Watched},
    forward::Proxy,
};
use crate::{clock, failure::client_error, flags::RuleArgs};

/// After this long without a frame from the other side, an HTTP/2 connection is pinged.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// While the proxy stops, a connection without a request is kept for the grace divided by this: a request may be
/// on its way, and its answer tells the caller that the connection ends.
const LINGER_DIVISOR: u32 = 60;

/// The longest linger, whatever the grace.
const MAX_LINGER: Duration = Duration::from_secs(5);

/// How long a connection without a request may take to end after its graceful shutdown began.
const CLOSING_MS: u64 = 500;

/// How often a connection is checked while the proxy stops.
const STOPPING_TICK: Duration = Duration::from_millis(20);

/// The limits of connections, and hyper's settings.
#[derive(Debug)]
pub(crate) struct Limits {
    timeouts: Timeouts,
    tick: Duration,
    builder: Builder<TokioExecutor>,
}

impl Limits {
    pub(crate) fn new(rules: &RuleArgs) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        let streams = u32::try_from(rules.max_requests).unwrap_or(u32::MAX);
        builder
            .http1()
            .timer(TokioTimer::new())
            // Hyper's own limit would end idle connections as early as slow ones.
            .header_read_timeout(None)
            .max_buf_size(rules.max_header_bytes as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .max_header_list_size(rules.max_header_bytes)
            .max_concurrent_streams(streams.max(1));
        let shortest = rules.header_timeout.min(rules.idle_timeout);
        Self {
            timeouts: Timeouts {
                idle: rules.idle_timeout,
                header: rules.header_timeout,
            },
            tick: (shortest / 4).clamp(Duration::from_millis(10), Duration::from_millis(2500)),
            builder,
        }
    }
}

/// Serves a connection until it ends.
pub(crate) async fn serve<I>(io: I, proxy: Arc<Proxy>, limits: Arc<Limits>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    proxy.metrics.connected();
    let activity = Arc::new(Activity::new());
    let io = TokioIo::new(Watched::new(io, activity.clone()));
    let (auth, stopping) = (proxy.auth.clone(), proxy.stopping.clone());
    let linger = (stopping.grace() / LINGER_DIVISOR).min(MAX_LINGER);
    let handling = activity.clone();
    let service = service_fn(move |request| {
        let answer = proxy.clone().handle(handling.clone(), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut connection = pin!(limits.builder.serve_connection_with_upgrades(io, service));
    let mut stop = pin!(stopping.begun());
    let mut tick = ticks(limits.tick);
    let mut stopping_since = None;
    let mut closing_since = None;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(error = client_error(&auth, &*error), "a connection broke");
                }
                return;
            }
            () = stop.as_mut(), if stopping_since.is_none() => {
                stopping_since = Some(clock::monotonic_ms());
                tick = ticks(STOPPING_TICK);
                if activity.is_http2() {
                    connection.as_mut().graceful_shutdown();
                }
                continue;
            }
            _ = tick.tick() => {}
        }
        let now = clock::monotonic_ms();
        let since = |then: u64| now.saturating_sub(then);
        let verdict = activity.verdict(now, &limits.timeouts);
        if verdict == Verdict::Slow
            || closing_since.is_some_and(|it| since(it) >= CLOSING_MS && !activity.is_busy())
        {
            return;
        }
        let has_lingered = stopping_since
            .is_some_and(|it| u128::from(since(it)) >= linger.as_millis() && !activity.is_busy());
        if closing_since.is_none() && (has_lingered || verdict == Verdict::Idle) {
            closing_since = Some(now);
            connection.as_mut().graceful_shutdown();
        }
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Otherwise the first tick is due at once.
    ticks.reset();
    ticks
}
