//! huskarl: a cache over a source of ours; its caller asks for headers, and sends a rejected request again.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Request};
use huskarl::{
    authorizer::HttpAuthorizer,
    cache::{InMemoryTokenCache, TokenError, TokenSource},
    core::{Error, RetryAdvice, platform::MaybeSendBoxFuture},
    grant::core::{RawTokenResponse, TokenResponse},
};
use tokio::runtime::Runtime;

use super::{
    Boxed, Client, No, Peer, Stamp,
    by_hand::hour,
    call::{Calls, Tokens, timed},
};
use crate::{
    source::{Api, Source},
    workload::{Body, ORIGIN},
};

pub struct Huskarl;

struct Fetches(Arc<Source>);

impl TokenSource for Fetches {
    fn token(&self) -> MaybeSendBoxFuture<'_, Result<Arc<TokenResponse>, TokenError>> {
        Box::pin(async {
            let failed =
                |why: String| TokenError::from(Error::new(RetryAdvice::Retry { after: None }, why));
            let issued = self
                .0
                .fetch()
                .await
                .map_err(|it| failed(format!("{it:?}")))?;
            let response = RawTokenResponse::builder()
                .access_token(issued.secret.as_str())
                .token_type("Bearer")
                .expires_in(issued.lifetime.as_secs())
                .build()
                .into_token_response(None, SystemTime::now())
                .map_err(|it| failed(it.to_string()))?;
            Ok(Arc::new(response))
        })
    }
}

struct Headers(HttpAuthorizer);

impl Headers {
    fn new(source: Arc<Source>) -> Self {
        let cache = InMemoryTokenCache::builder()
            .source(Fetches(source))
            .build();
        Self(HttpAuthorizer::builder().cache(cache).build())
    }
}

impl Tokens for Headers {
    async fn stamp(&self, request: &mut Request<Body>) -> Result<(), String> {
        let headers = self.0.get_headers(request.method(), request.uri()).await;
        let headers = headers.map_err(|it| it.to_string())?;
        request.headers_mut().extend(headers);
        Ok(())
    }

    fn rejected(&self, response: &HeaderMap) -> bool {
        self.0
            .process_response(&http::Uri::from_static(ORIGIN), response);
        true
    }
}

impl Peer for Huskarl {
    fn name(&self) -> &'static str {
        "huskarl"
    }

    fn package(&self) -> Option<&'static str> {
        Some("huskarl")
    }

    fn path(&self) -> &'static str {
        "`HttpAuthorizer::get_headers` over `InMemoryTokenCache`, put onto the request"
    }

    fn heals(&self) -> bool {
        true
    }

    fn lifetime(&self, due_in: Duration) -> Result<Duration, No> {
        // Its margin of 30 s is half the life of a token that lives for less than a minute.
        Ok(due_in * 2)
    }

    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>> {
        let client = Calls::client(Headers::new(source), api);
        Box::pin(async move { Ok(client) })
    }

    fn stamp(&self, runtime: &Runtime) -> Result<Stamp, No> {
        timed(runtime, Headers::new(hour()))
    }
}
