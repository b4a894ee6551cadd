//! object_store's token cache, which is private: a client secret of Azure's and a token endpoint.

use std::{sync::Arc, time::Duration};

use http::Request;
use object_store::{
    RetryConfig,
    azure::{AzureConfigKey, AzureCredential, AzureCredentialProvider, MicrosoftAzureBuilder},
};
use tokio::runtime::Runtime;

use super::{
    Boxed, Client, No, Peer, Stamp,
    by_hand::hour,
    call::{Calls, Tokens, bearer, insert, timed},
};
use crate::{
    endpoint,
    source::{Api, Source},
    workload::Body,
};

/// A token with less time than this is fetched anew.
const MARGIN: Duration = Duration::from_secs(300);

pub struct ObjectStore;

struct Tokened(AzureCredentialProvider);

impl Tokens for Tokened {
    async fn stamp(&self, request: &mut Request<Body>) -> Result<(), String> {
        let credential = self.0.get_credential().await.map_err(|it| it.to_string())?;
        match &*credential {
            AzureCredential::BearerToken(token) => insert(request, bearer(token)?),
            _ => return Err("it is no bearer token".into()),
        }
        Ok(())
    }
}

async fn tokens(source: Arc<Source>) -> Result<Tokened, No> {
    let url = endpoint::serve(source).await.map_err(|it| it.to_string())?;
    let store = MicrosoftAzureBuilder::new()
        .with_account("account")
        .with_container_name("container")
        .with_client_secret_authorization("id", "secret", "tenant")
        .with_config(AzureConfigKey::AuthorityHost, url)
        .with_allow_http(true)
        // One attempt a fetch, as all others have.
        .with_retry(RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        })
        .build()
        .map_err(|it| it.to_string())?;
    Ok(Tokened(store.credentials().clone()))
}

impl Peer for ObjectStore {
    fn name(&self) -> &'static str {
        "object_store"
    }

    fn package(&self) -> Option<&'static str> {
        Some("object_store")
    }

    fn path(&self) -> &'static str {
        "`get_credential` of an Azure client secret, then a header made of it"
    }

    fn lifetime(&self, due_in: Duration) -> Result<Duration, No> {
        Ok(MARGIN + due_in)
    }

    fn outage_lifetime(&self) -> Duration {
        MARGIN + Duration::from_secs(30)
    }

    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>> {
        Box::pin(async move { Ok(Calls::client(tokens(source).await?, api)) })
    }

    fn stamp(&self, runtime: &Runtime) -> Result<Stamp, No> {
        timed(runtime, runtime.block_on(tokens(hour()))?)
    }
}
