//! azure_core's bearer policy over a credential of ours, in a pipeline of two policies.

use std::{sync::Arc, time::Duration};

use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::ErrorKind,
    http::{
        AsyncRawResponse, Context, Method, Request, StatusCode, Url,
        headers::{HeaderName, Headers},
        policies::{
            Policy, PolicyResult,
            auth::{Authorizer, BearerTokenAuthorizationPolicy, OnChallenge},
        },
    },
    time::OffsetDateTime,
};
use tokio::runtime::Runtime;

use super::{Boxed, Client, No, Peer, Stamp, by_hand::hour};
use crate::{
    source::{Api, Source},
    stacks::Make,
    workload::{self, finish},
};

/// A token with less time than this is fetched anew.
const MARGIN: Duration = Duration::from_secs(300);

const SCOPE: &str = "scope";

pub struct Azure;

#[derive(Debug)]
struct Fetches(Arc<Source>);

#[async_trait::async_trait]
impl TokenCredential for Fetches {
    async fn get_token(
        &self,
        _scopes: &[&str],
        _options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let issued = self.0.fetch().await.map_err(|it| {
            azure_core::Error::with_message(ErrorKind::Credential, format!("{it:?}"))
        })?;
        let expiry = OffsetDateTime::now_utc() + issued.lifetime;
        Ok(AccessToken::new(issued.secret, expiry))
    }
}

/// Authorizes again when challenged, as its docs say.
#[derive(Debug)]
struct Again;

#[async_trait::async_trait]
impl OnChallenge for Again {
    async fn on_challenge(
        &self,
        _context: &Context,
        request: &mut Request,
        authorizer: &dyn Authorizer,
        _headers: &Headers,
    ) -> azure_core::Result<()> {
        let options = TokenRequestOptions::default();
        authorizer.authorize(request, &[SCOPE], options).await
    }
}

/// The end of the pipeline.
#[derive(Debug)]
struct Terminal(Option<Arc<Api>>);

#[async_trait::async_trait]
impl Policy for Terminal {
    async fn send(
        &self,
        _ctx: &Context,
        request: &mut Request,
        _next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let mut headers = Headers::new();
        let status = match &self.0 {
            None => StatusCode::Ok,
            Some(api) => {
                let header = request
                    .headers()
                    .get_optional_str(&HeaderName::from_static("authorization"));
                match api.judge_value(header.map(str::as_bytes)).as_u16() {
                    200 => StatusCode::Ok,
                    _ => {
                        headers.insert("www-authenticate", "Bearer error=\"invalid_token\"");
                        StatusCode::Unauthorized
                    }
                }
            }
        };
        Ok(AsyncRawResponse::from_bytes(status, headers, Vec::new()))
    }
}

fn request() -> Request {
    static URL: std::sync::OnceLock<Url> = std::sync::OnceLock::new();
    let url = URL
        .get_or_init(|| Url::parse("https://api.example/api/v1/clusters?limit=50").expect("a URL"));
    let mut request = Request::new(url.clone(), Method::Get);
    for (name, value) in workload::static_headers() {
        request.insert_header(name, value);
    }
    request
}

#[derive(Clone)]
struct Pipeline {
    first: Arc<dyn Policy>,
    rest: Arc<[Arc<dyn Policy>]>,
}

impl Pipeline {
    fn new(source: Arc<Source>, api: Option<Arc<Api>>) -> Self {
        let policy = BearerTokenAuthorizationPolicy::new(Arc::new(Fetches(source)), [SCOPE]);
        Self {
            first: Arc::new(policy.with_on_challenge(Arc::new(Again))),
            rest: Arc::new([Arc::new(Terminal(api))]),
        }
    }

    async fn send(&self) -> PolicyResult {
        let mut request = request();
        let context = Context::new();
        self.first.send(&context, &mut request, &self.rest).await
    }
}

impl Client for Pipeline {
    fn send(&self) -> Boxed<Result<http::StatusCode, String>> {
        let pipeline = self.clone();
        Box::pin(async move {
            let response = Pipeline::send(&pipeline).await;
            let status = response.map_err(|it| it.to_string())?.status();
            http::StatusCode::from_u16(status.into()).map_err(|it| it.to_string())
        })
    }
}

fn runner(pipeline: Pipeline) -> Make {
    Box::new(move || {
        let pipeline = pipeline.clone();
        Box::new(move |requests| {
            for _ in 0..requests {
                let response = finish(Pipeline::send(&pipeline));
                assert!(response.is_ok());
                std::hint::black_box(response).ok();
            }
        })
    })
}

impl Peer for Azure {
    fn name(&self) -> &'static str {
        "azure_core"
    }

    fn package(&self) -> Option<&'static str> {
        Some("azure_core")
    }

    fn path(&self) -> &'static str {
        "`BearerTokenAuthorizationPolicy::send` in a pipeline of its own, less that pipeline"
    }

    fn heals(&self) -> bool {
        true
    }

    fn lifetime(&self, due_in: Duration) -> Result<Duration, No> {
        Ok(MARGIN + due_in)
    }

    fn outage_lifetime(&self) -> Duration {
        MARGIN + Duration::from_secs(30)
    }

    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>> {
        let client: Arc<dyn Client> = Arc::new(Pipeline::new(source, Some(api)));
        Box::pin(async move { Ok(client) })
    }

    fn stamp(&self, runtime: &Runtime) -> Result<Stamp, No> {
        let with = Pipeline::new(hour(), None);
        runtime
            .block_on(Pipeline::send(&with))
            .map_err(|it| it.to_string())?;
        let bare = Pipeline {
            first: Arc::new(Terminal(None)),
            rest: Arc::new([]),
        };
        Ok(Stamp {
            with: runner(with),
            bare: runner(bare),
        })
    }
}
