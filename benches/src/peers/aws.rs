//! aws-smithy-runtime's lazy identity cache over a resolver of ours.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_smithy_async::{rt::sleep::TokioSleep, time::SystemTimeSource};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime_api::client::{
    identity::{
        Identity, IdentityFuture, ResolveCachedIdentity, ResolveIdentity, SharedIdentityCache,
        SharedIdentityResolver, http::Token,
    },
    runtime_components::{RuntimeComponents, RuntimeComponentsBuilder},
};
use aws_smithy_types::config_bag::ConfigBag;
use http::Request;
use tokio::runtime::Runtime;

use super::{
    Boxed, Client, No, Peer, Stamp,
    by_hand::hour,
    call::{Calls, Tokens, bearer, insert, timed},
};
use crate::{
    source::{Api, Source},
    workload::Body,
};

pub struct Aws;

#[derive(Debug)]
struct Resolves(Arc<Source>);

impl ResolveIdentity for Resolves {
    fn resolve_identity<'a>(
        &'a self,
        _components: &'a RuntimeComponents,
        _config: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        IdentityFuture::new(async {
            let issued = self.0.fetch().await.map_err(|it| format!("{it:?}"))?;
            let expiry = Some(SystemTime::now() + issued.lifetime);
            Ok(Identity::new(Token::new(issued.secret, expiry), expiry))
        })
    }
}

struct Lazy {
    cache: SharedIdentityCache,
    resolver: SharedIdentityResolver,
    components: RuntimeComponents,
    config: ConfigBag,
}

impl Lazy {
    fn new(source: Arc<Source>) -> Result<Self, No> {
        let components = RuntimeComponentsBuilder::for_tests()
            .with_time_source(Some(SystemTimeSource::new()))
            .with_sleep_impl(Some(TokioSleep::new()))
            .build()
            .map_err(|it| it.to_string())?;
        Ok(Self {
            cache: IdentityCache::lazy().build(),
            resolver: SharedIdentityResolver::new(Resolves(source)),
            components,
            config: ConfigBag::base(),
        })
    }
}

impl Tokens for Lazy {
    async fn stamp(&self, request: &mut Request<Body>) -> Result<(), String> {
        let resolver = self.resolver.clone();
        let identity = self
            .cache
            .resolve_cached_identity(resolver, &self.components, &self.config);
        let identity = identity.await.map_err(|it| it.to_string())?;
        let token = identity.data::<Token>().ok_or("it is no token")?;
        insert(request, bearer(token.token())?);
        Ok(())
    }
}

impl Peer for Aws {
    fn name(&self) -> &'static str {
        "aws-smithy-runtime"
    }

    fn package(&self) -> Option<&'static str> {
        Some("aws-smithy-runtime")
    }

    fn path(&self) -> &'static str {
        "`resolve_cached_identity` of the lazy cache, then a header made of the token"
    }

    fn lifetime(&self, due_in: Duration) -> Result<Duration, No> {
        // Its buffer of 10 s shrinks by a random half, so that tokens are due up to 5 s later.
        Ok(Duration::from_secs(10) + due_in)
    }

    fn connect(&self, source: Arc<Source>, api: Arc<Api>) -> Boxed<Result<Arc<dyn Client>, No>> {
        Box::pin(async move { Ok(Calls::client(Lazy::new(source)?, api)) })
    }

    fn stamp(&self, runtime: &Runtime) -> Result<Stamp, No> {
        // Its time-out is a timer of tokio's, which needs a runtime around it.
        let stamp = timed(runtime, Lazy::new(hour())?)?;
        let (handle, with) = (runtime.handle().clone(), stamp.with);
        Ok(Stamp {
            with: Box::new(move || {
                let (handle, mut runner) = (handle.clone(), with());
                Box::new(move |requests| {
                    let _entered = handle.enter();
                    runner(requests);
                })
            }),
            bare: stamp.bare,
        })
    }
}
