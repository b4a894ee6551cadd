//! google-cloud-auth: a task of its own fetches from a metadata server.

use std::{sync::Arc, time::Duration};

use google_cloud_auth::credentials::{CacheableResource, Credentials, mds};
use http::{Extensions, Request};
use tokio::runtime::Runtime;

use super::{
    Boxed, Client, No, Peer, Stamp,
    by_hand::hour,
    call::{Calls, Tokens, timed},
};
use crate::{
    endpoint,
    source::{Api, Source},
    workload::Body,
};

pub struct Google;

struct Headers(Credentials);

impl Tokens for Headers {
    async fn stamp(&self, request: &mut Request<Body>) -> Result<(), String> {
        let headers = self.0.headers(Extensions::new()).await;
        match headers.map_err(|it| it.to_string())? {
            CacheableResource::New { data, .. } => request.headers_mut().extend(data),
            CacheableResource::NotModified => return Err("not modified since nothing".into()),
        }
        Ok(())
    }
}

async fn headers(source: Arc<Source>) -> Result<Headers, No> {
    let url = endpoint::serve(source).await.map_err(|it| it.to_string())?;
    let built = mds::Builder::default().with_endpoint(url).build();
    Ok(Headers(built.map_err(|it| it.to_string())?))
}

impl Peer for Google {
    fn name(&self) -> &'static str {
        "google-cloud-auth"
    }

    fn package(&self) -> Option<&'static str> {
        Some("google-cloud-auth")
    }

    fn path(&self) -> &'static str {
        "`Credentials::headers` of the metadata server's, put onto the request"
    }

    fn lifetime(&self, due_in: Duration) -> Result<Duration, No> {
        // Refreshed 240 s before expiry. Whole seconds, and what the answer takes comes off.
        Ok(Duration::from_secs(241) + due_in)
    }

    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>> {
        Box::pin(async move { Ok(Calls::client(headers(source).await?, api)) })
    }

    fn stamp(&self, runtime: &Runtime) -> Result<Stamp, No> {
        timed(runtime, runtime.block_on(headers(hour()))?)
    }
}
