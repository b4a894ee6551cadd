//! The two things that people write by hand, at their best: the header is made once per token, and only
//! one clock is looked at.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use tokio::{
    runtime::Runtime,
    sync::{Mutex, RwLock},
};
use tower_service::Service;

use super::{Boxed, Client, No, Peer, Stamp, ours::Judge};
use crate::{
    source::{Api, Source},
    stacks,
    workload::{Body, Noop, request},
};

/// How long before its expiry a token is renewed.
const MARGIN: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Cached {
    header: HeaderValue,
    renew_at: Instant,
}

impl Cached {
    async fn fetch(source: &Source) -> Result<Self, String> {
        let issued = source.fetch().await.map_err(|it| format!("{it:?}"))?;
        let mut header = HeaderValue::try_from(format!("Bearer {}", issued.secret))
            .map_err(|it| it.to_string())?;
        header.set_sensitive(true);
        Ok(Self {
            header,
            renew_at: Instant::now() + issued.lifetime.saturating_sub(MARGIN),
        })
    }

    fn header(&self) -> Option<HeaderValue> {
        (Instant::now() < self.renew_at).then(|| self.header.clone())
    }
}

/// A token behind some lock.
trait Tokens: Send + Sync + 'static {
    fn header(&self) -> impl Future<Output = Result<HeaderValue, String>> + Send;
}

/// `tokio::sync::Mutex<Option<Token>>`, locked for each request and held while a token is fetched.
struct InMutex {
    source: Arc<Source>,
    cached: Mutex<Option<Cached>>,
}

impl Tokens for InMutex {
    async fn header(&self) -> Result<HeaderValue, String> {
        let mut cached = self.cached.lock().await;
        if let Some(header) = cached.as_ref().and_then(Cached::header) {
            return Ok(header);
        }
        let fetched = Cached::fetch(&self.source).await?;
        Ok(cached.insert(fetched).header.clone())
    }
}

/// `tokio::sync::RwLock<Option<Token>>`, looked at again once it may be written to.
struct InRwLock {
    source: Arc<Source>,
    cached: RwLock<Option<Cached>>,
}

impl Tokens for InRwLock {
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

/// The service around it. Its future is boxed, as that of a service which awaits a lock must be.
struct Stamping<T, S> {
    tokens: Arc<T>,
    inner: S,
}

impl<T, S: Clone> Clone for Stamping<T, S> {
    fn clone(&self) -> Self {
        Self {
            tokens: self.tokens.clone(),
            inner: self.inner.clone(),
        }
    }
}

impl<T, S> Service<Request<Body>> for Stamping<T, S>
where
    T: Tokens,
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Error: ToString,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = String;
    type Future = Boxed<Result<Response<Body>, String>>;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), String>> {
        self.inner.poll_ready(cx).map_err(|it| it.to_string())
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let tokens = self.tokens.clone();
        let spare = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, spare);
        Box::pin(async move {
            let header = tokens.header().await?;
            request.headers_mut().insert(header::AUTHORIZATION, header);
            inner.call(request).await.map_err(|it| it.to_string())
        })
    }
}

impl<T: Tokens> Client for Stamping<T, Judge> {
    fn send(&self) -> Boxed<Result<StatusCode, String>> {
        let response = self.clone().call(request());
        Box::pin(async move { Ok(response.await?.status()) })
    }
}

/// A source of one token of an hour.
fn hour() -> Arc<Source> {
    Arc::new(Source::new(Duration::from_secs(3600), Duration::ZERO))
}

fn stamp<T: Tokens>(runtime: &Runtime, tokens: T) -> Result<Stamp, No> {
    runtime.block_on(tokens.header())?;
    let service = Stamping {
        tokens: Arc::new(tokens),
        inner: Noop,
    };
    Ok(Stamp {
        with: stacks::make(service, false),
        bare: stacks::make(Noop, false),
    })
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
        "`tokio::sync::Mutex<Option<Token>>`, header made once per token, a boxed future"
    }

    fn lifetime(&self, due_in: Duration) -> Result<Duration, No> {
        Ok(MARGIN + due_in)
    }

    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>> {
        let tokens = Arc::new(InMutex {
            source,
            cached: Mutex::default(),
        });
        let client: Arc<dyn Client> = Arc::new(Stamping {
            tokens,
            inner: Judge(api),
        });
        Box::pin(async move { Ok(client) })
    }

    fn stamp(&self, runtime: &Runtime) -> Result<Stamp, No> {
        stamp(
            runtime,
            InMutex {
                source: hour(),
                cached: Mutex::default(),
            },
        )
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
        "`tokio::sync::RwLock<Option<Token>>` with a double check, header made once per token, a boxed future"
    }

    fn lifetime(&self, due_in: Duration) -> Result<Duration, No> {
        Ok(MARGIN + due_in)
    }

    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>> {
        let tokens = Arc::new(InRwLock {
            source,
            cached: RwLock::default(),
        });
        let client: Arc<dyn Client> = Arc::new(Stamping {
            tokens,
            inner: Judge(api),
        });
        Box::pin(async move { Ok(client) })
    }

    fn stamp(&self, runtime: &Runtime) -> Result<Stamp, No> {
        stamp(
            runtime,
            InRwLock {
                source: hour(),
                cached: RwLock::default(),
            },
        )
    }
}
