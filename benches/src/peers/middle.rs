//! middle: a task of its own fetches from a token endpoint; the header is made once per token.

use std::{sync::Arc, time::Duration};

use http::Request;
use middle::{Authorizer, BasicClientCredentialAuthorizer, BasicClientCredentialAuthorizerBuilder};
use tokio::runtime::Runtime;

use super::{
    Boxed, Client, No, Peer, Stamp,
    by_hand::hour,
    call::{Calls, Tokens, insert, timed},
};
use crate::{
    endpoint,
    source::{Api, Source},
    workload::Body,
};

pub struct Middle;

struct Headers(BasicClientCredentialAuthorizer);

impl Tokens for Headers {
    async fn stamp(&self, request: &mut Request<Body>) -> Result<(), String> {
        let header = self.0.authorization_header().map_err(|it| it.to_string())?;
        insert(request, (*header).clone());
        Ok(())
    }
}

async fn headers(source: Arc<Source>) -> Result<Headers, No> {
    let url = endpoint::serve(source).await.map_err(|it| it.to_string())?;
    let url = url.parse().map_err(|_| "no URL".to_owned())?;
    let built = BasicClientCredentialAuthorizerBuilder::new("id", "secret", url).build();
    Ok(Headers(built.await.map_err(|it| it.to_string())?))
}

impl Peer for Middle {
    fn name(&self) -> &'static str {
        "middle"
    }

    fn package(&self) -> Option<&'static str> {
        Some("middle")
    }

    fn path(&self) -> &'static str {
        "`authorization_header`, put onto the request"
    }

    fn fetches_first(&self) -> bool {
        true
    }

    fn lifetime(&self, due_in: Duration) -> Result<Duration, No> {
        // A token that lives for less than its tolerance of 30 s is refreshed after half its life.
        Ok(due_in * 2)
    }

    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>> {
        Box::pin(async move { Ok(Calls::client(headers(source).await?, api)) })
    }

    fn stamp(&self, runtime: &Runtime) -> Result<Stamp, No> {
        timed(runtime, runtime.block_on(headers(hour()))?)
    }
}
