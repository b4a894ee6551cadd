//! aliri_reqwest: a middleware of reqwest's over a watcher whose task asks a source of ours.

use std::{sync::Arc, time::Duration};

use aliri_clock::DurationSecs;
use aliri_reqwest::AccessTokenMiddleware;
use aliri_tokens::{
    AccessToken, IdToken, TokenLifetimeConfig, TokenWatcher, TokenWithLifetime,
    backoff::ErrorBackoffConfig, jitter::NullJitter, sources::AsyncTokenSource,
};
use http::{Extensions, Response, StatusCode};
use reqwest::{Method, Request, Url};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use tokio::runtime::Runtime;

use super::{Boxed, Client, No, Peer, Stamp, by_hand::hour};
use crate::{
    source::{Api, Source},
    stacks::Make,
    workload::{finish, headers},
};

pub struct Aliri;

struct Fetches(Arc<Source>);

#[derive(Debug)]
struct Down;

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the source is down")
    }
}

impl std::error::Error for Down {}

#[async_trait::async_trait]
impl AsyncTokenSource for Fetches {
    type Error = Down;

    async fn request_token(&mut self) -> Result<TokenWithLifetime, Down> {
        let issued = self.0.fetch().await.map_err(|_| Down)?;
        // By default no token is stale before 30 s.
        let lifetime = match issued.lifetime.as_secs() {
            short @ 0..30 => TokenLifetimeConfig::new(0.5, DurationSecs(short / 2)),
            _ => TokenLifetimeConfig::default(),
        };
        Ok(lifetime.create_token(
            AccessToken::new(issued.secret),
            None::<IdToken>,
            DurationSecs(issued.lifetime.as_secs()),
        ))
    }
}

/// The end of the chain.
struct Terminal(Option<Arc<Api>>);

#[async_trait::async_trait]
impl Middleware for Terminal {
    async fn handle(
        &self,
        request: Request,
        _extensions: &mut Extensions,
        _next: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        let mut response = Response::new("");
        if let Some(api) = &self.0 {
            *response.status_mut() = api.judge(request.headers());
        }
        Ok(response.into())
    }
}

fn request() -> Request {
    static URL: std::sync::OnceLock<Url> = std::sync::OnceLock::new();
    let url = URL
        .get_or_init(|| Url::parse("https://api.example/api/v1/clusters?limit=50").expect("a URL"));
    let mut request = Request::new(Method::GET, url.clone());
    *request.headers_mut() = headers();
    request
}

async fn client(source: Arc<Source>, api: Option<Arc<Api>>) -> Result<ClientWithMiddleware, No> {
    let watcher = TokenWatcher::spawn_from_token_source(
        Fetches(source),
        NullJitter,
        ErrorBackoffConfig::default(),
    );
    let watcher = watcher.await.map_err(|it| it.to_string())?;
    Ok(ClientBuilder::new(reqwest::Client::new())
        .with(AccessTokenMiddleware::new(watcher))
        .with(Terminal(api))
        .build())
}

struct Sends(ClientWithMiddleware);

impl Client for Sends {
    fn send(&self) -> Boxed<Result<StatusCode, String>> {
        let client = self.0.clone();
        Box::pin(async move {
            let response = client.execute(request()).await;
            Ok(response.map_err(|it| it.to_string())?.status())
        })
    }
}

fn runner(client: ClientWithMiddleware) -> Make {
    Box::new(move || {
        let client = client.clone();
        Box::new(move |requests| {
            for _ in 0..requests {
                let response = finish(client.execute(request()));
                assert!(response.is_ok());
                std::hint::black_box(response).ok();
            }
        })
    })
}

impl Peer for Aliri {
    fn name(&self) -> &'static str {
        "aliri_reqwest"
    }

    fn package(&self) -> Option<&'static str> {
        Some("aliri_reqwest")
    }

    fn path(&self) -> &'static str {
        "`AccessTokenMiddleware` in a chain of reqwest-middleware, less that chain"
    }

    fn fetches_first(&self) -> bool {
        true
    }

    fn lifetime(&self, due_in: Duration) -> Result<Duration, No> {
        Ok(due_in * 2)
    }

    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>> {
        Box::pin(async move {
            let client: Arc<dyn Client> = Arc::new(Sends(client(source, Some(api)).await?));
            Ok(client)
        })
    }

    fn stamp(&self, runtime: &Runtime) -> Result<Stamp, No> {
        let with = runtime.block_on(client(hour(), None))?;
        let bare = ClientBuilder::new(reqwest::Client::new())
            .with(Terminal(None))
            .build();
        Ok(Stamp {
            with: runner(with),
            bare: runner(bare),
        })
    }
}
