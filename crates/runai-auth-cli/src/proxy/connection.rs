//! One connection: its limits on time, and its end when the proxy is stopping.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Version;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{MissedTickBehavior, interval},
};
use tracing::debug;

use super::{args::RuleArgs, clock, drain::Live, forward::Proxy};

/// After so long without a word from the other side an HTTP/2 connection is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A connection without a request is kept for the grace divided by this while the proxy stops: one may be on
/// its way, and its answer says that the connection ends.
const LINGER_DIVISOR: u32 = 60;

/// It is kept no longer, whatever the grace.
const MAX_LINGER: Duration = Duration::from_secs(5);

/// So long a connection that was told to end may take for it without a request.
const CLOSING_MS: u64 = 500;

/// How often a connection is looked at while the proxy stops.
const STOPPING_TICK: Duration = Duration::from_millis(20);

/// What a connection is doing.
#[derive(Debug)]
pub(crate) struct Activity {
    in_flight: AtomicUsize,
    /// When it was last in use.
    since: AtomicU64,
    /// When the first byte of a request's head came, plus one; 0 while none has.
    head_since: AtomicU64,
    is_http2: AtomicBool,
}

/// What a connection has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    /// It has no request for too long.
    Idle,
    /// A request's head takes too long.
    Slow,
}

impl Activity {
    fn new() -> Self {
        Self {
            in_flight: AtomicUsize::new(0),
            since: AtomicU64::new(clock::now_ms()),
            head_since: AtomicU64::new(0),
            is_http2: AtomicBool::new(false),
        }
    }

    pub(crate) fn speaks(&self, version: Version) {
        if version == Version::HTTP_2 {
            self.is_http2.store(true, Relaxed);
        }
    }

    pub(crate) fn begun(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.head_since.store(0, Relaxed);
    }

    pub(crate) fn ended(&self) {
        self.since.store(clock::now_ms(), Relaxed);
        self.in_flight.fetch_sub(1, Relaxed);
    }

    fn is_busy(&self) -> bool {
        self.in_flight.load(Relaxed) > 0 || self.head_since.load(Relaxed) > 0
    }

    /// HTTP/2 has frames that are about no request, so only of HTTP/1.1 do bytes say something.
    fn says_something(&self) -> bool {
        self.in_flight.load(Relaxed) == 0 && !self.is_http2.load(Relaxed)
    }

    fn received(&self) {
        if self.says_something() && self.head_since.load(Relaxed) == 0 {
            self.head_since
                .store(clock::now_ms().saturating_add(1), Relaxed);
        }
    }

    /// The rest of an answer may be on its way to a slow caller.
    fn sent(&self) {
        if self.says_something() {
            self.since.store(clock::now_ms(), Relaxed);
        }
    }

    fn verdict(&self, now: u64, limits: &Limits) -> Verdict {
        if self.in_flight.load(Relaxed) > 0 {
            return Verdict::Keep;
        }
        let head = self.head_since.load(Relaxed);
        let is_http2 = self.is_http2.load(Relaxed);
        if head > 0 && !is_http2 && now.saturating_sub(head - 1) >= limits.header_ms {
            return Verdict::Slow;
        }
        match now.saturating_sub(self.since.load(Relaxed)) >= limits.idle_ms {
            true => Verdict::Idle,
            false => Verdict::Keep,
        }
    }
}

/// The limits of connections, and hyper's settings.
#[derive(Debug)]
pub(crate) struct Limits {
    idle_ms: u64,
    header_ms: u64,
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
            // Its own would end idle connections as early as slow ones.
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
            idle_ms: millis(rules.idle_timeout),
            header_ms: millis(rules.header_timeout),
            tick: (shortest / 4).clamp(Duration::from_millis(10), Duration::from_millis(2500)),
            builder,
        }
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve<I>(io: I, proxy: Arc<Proxy>, limits: Arc<Limits>, _live: Live)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    proxy.counts.connected();
    let activity = Arc::new(Activity::new());
    let io = TokioIo::new(Watched {
        inner: io,
        activity: activity.clone(),
    });
    let stopping = proxy.stopping.clone();
    let handling = activity.clone();
    let service = service_fn(move |request| {
        let answer = proxy.clone().handle(handling.clone(), request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let mut connection = pin!(limits.builder.serve_connection_with_upgrades(io, service));
    let mut told = pin!(stopping.told());
    let mut tick = ticks(limits.tick);
    let mut stopping_since = None;
    let mut closing_since = None;
    let mut linger_ms = 0;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(error = &*error, "a connection broke");
                }
                return;
            }
            grace = told.as_mut(), if stopping_since.is_none() => {
                stopping_since = Some(clock::now_ms());
                linger_ms = millis((grace / LINGER_DIVISOR).min(MAX_LINGER));
                tick = ticks(STOPPING_TICK);
                if activity.is_http2.load(Relaxed) {
                    connection.as_mut().graceful_shutdown();
                }
                continue;
            }
            _ = tick.tick() => {}
        }
        let now = clock::now_ms();
        let since = |then: u64| now.saturating_sub(then);
        let verdict = activity.verdict(now, &limits);
        if verdict == Verdict::Slow
            || closing_since.is_some_and(|it| since(it) >= CLOSING_MS && !activity.is_busy())
        {
            return;
        }
        let lingered =
            stopping_since.is_some_and(|it| since(it) >= linger_ms && !activity.is_busy());
        if closing_since.is_none() && (lingered || verdict == Verdict::Idle) {
            closing_since = Some(now);
            connection.as_mut().graceful_shutdown();
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is due at once.
    ticks.reset();
    ticks
}

/// A stream that tells when something passes.
struct Watched<I> {
    inner: I,
    activity: Arc<Activity>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.received();
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        if written.is_ready() {
            self.activity.sent();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        if written.is_ready() {
            self.activity.sent();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
