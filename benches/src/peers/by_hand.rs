//! The two things that people write by hand, at their best: the header is made once per token, only one
//! clock is looked at, and no future is boxed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request};
use tokio::{
    runtime::Runtime,
    sync::{Mutex, RwLock},
};

use super::{
    Boxed, Client, No, Peer, Stamp,
    call::{Calls, Tokens, bearer, insert, timed},
};
use crate::{
    source::{Api, Source},
    workload::Body,
};

/// How long before its expiry a token is refreshed.
const MARGIN: Duration = Duration::from_secs(30);

struct Cached {
    header: HeaderValue,
    refresh_at: Instant,
}

impl Cached {
    async fn fetch(source: &Source) -> Result<Self, String> {
        let issued = source.fetch().await.map_err(|it| format!("{it:?}"))?;
        Ok(Self {
            header: bearer(&issued.secret)?,
            refresh_at: Instant::now() + issued.lifetime.saturating_sub(MARGIN),
        })
    }

    fn header(&self) -> Option<HeaderValue> {
        (Instant::now() < self.refresh_at).then(|| self.header.clone())
    }
}

/// `tokio::sync::Mutex<Option<Token>>`, locked for each request and held while a token is fetched.
struct InMutex {
    source: Arc<Source>,
    cached: Mutex<Option<Cached>>,
}

impl Tokens for InMutex {
    async fn stamp(&self, request: &mut Request<Body>) -> Result<(), String> {
        let mut cached = self.cached.lock().await;
        let header = match cached.as_ref().and_then(Cached::header) {
            Some(header) => header,
            None => cached
                .insert(Cached::fetch(&self.source).await?)
                .header
                .clone(),
        };
        insert(request, header);
        Ok(())
    }
}

/// `tokio::sync::RwLock<Option<Token>>`, looked at again once it may be written to.
struct InRwLock {
    source: Arc<Source>,
    cached: RwLock<Option<Cached>>,
}

impl InRwLock {
    async fn header(&self) -> Result<HeaderValue, String> {
        let header = self.cached.read().await.as_ref().and_then(Cached::header);
        if let Some(header) = header {
            return Ok(header);
        }
        let mut cached = self.cached.write().await;
        if let Some(header) = cached.as_ref().and_then(Cached::header) {
            return Ok(header);
        }
        let fetched = Cached::fetch(&self.source).await?;
        Ok(cached.insert(fetched).header.clone())
    }
}

impl Tokens for InRwLock {
    async fn stamp(&self, request: &mut Request<Body>) -> Result<(), String> {
        insert(request, self.header().await?);
        Ok(())
    }
}

/// A source of one token of an hour.
pub fn hour() -> Arc<Source> {
    Arc::new(Source::new(Duration::from_secs(3600), Duration::ZERO))
}

pub struct Mutexed;

impl Peer for Mutexed {
    fn name(&self) -> &'static str {
        "by-hand-mutex"
    }

    fn package(&self) -> Option<&'static str> {
        None
    }

    fn path(&self) -> &'static str {
        "`tokio::sync::Mutex<Option<Token>>`, header made once per token"
    }

    fn lifetime(&self, due_in: Duration) -> Result<Duration, No> {
        Ok(MARGIN + due_in)
    }

    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>> {
        let cached = Mutex::default();
        let client = Calls::client(InMutex { source, cached }, api);
        Box::pin(async move { Ok(client) })
    }

    fn stamp(&self, runtime: &Runtime) -> Result<Stamp, No> {
        let (source, cached) = (hour(), Mutex::default());
        timed(runtime, InMutex { source, cached })
    }
}

pub struct Checked;

impl Peer for Checked {
    fn name(&self) -> &'static str {
        "by-hand-rwlock"
    }

    fn package(&self) -> Option<&'static str> {
        None
    }

    fn path(&self) -> &'static str {
        "`tokio::sync::RwLock<Option<Token>>` with a double check, header made once per token"
    }

    fn lifetime(&self, due_in: Duration) -> Result<Duration, No> {
        Ok(MARGIN + due_in)
    }

    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>> {
        let cached = RwLock::default();
        let client = Calls::client(InRwLock { source, cached }, api);
        Box::pin(async move { Ok(client) })
    }

    fn stamp(&self, runtime: &Runtime) -> Result<Stamp, No> {
        let (source, cached) = (hour(), RwLock::default());
        timed(runtime, InRwLock { source, cached })
    }
}
