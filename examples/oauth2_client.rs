//! Gets tokens from an OAuth 2.0 provider, with tower-bearer alone and hyper-util's client.
//!
//! ```text
//! ISSUER=http://127.0.0.1:3000 CLIENT_ID=ci-bot CLIENT_SECRET=s3cr3t cargo run --example oauth2_client
//! ```
//!
//! | variable | means |
//! | --- | --- |
//! | `ISSUER` | the issuer; its discovery document names the token endpoint |
//! | `CLIENT_ID` | the client's id |
//! | `AUTH` | how the client authenticates: `basic` (the default), `post`, `assertion` or `public` |
//! | `CLIENT_SECRET` | for `basic` and `post` |
//! | `ASSERTION_FILE` | for `assertion`: a file with a signed JWT, read at each fetch |
//! | `GRANT` | `client_credentials` (the default) or `refresh_token` |
//! | `REFRESH_TOKEN` | for `refresh_token` |
//! | `SCOPE`, `RESOURCE` | optional: what to ask for |
//! | `TOKEN_FILE` | optional: where to write the access token |
//!
//! With `GRANT=refresh_token` it gets two tokens, one after the other. If the provider rotates refresh tokens,
//! the second token shows that the rotated one was stored.
//!
//! It speaks plain HTTP, for a provider on loopback. The exit status is 0 only if it got every token.

#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{
    env, fs,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{client::legacy::Client as Hyper, rt::TokioExecutor};
use tower_bearer::{
    BoxError, Report, TokenCache,
    oauth2::{Client, Endpoint, OAuth2Source, RefreshTokenStore, RefreshTokens, SecretText},
};

/// The pause before a forced refresh. One within a second of the last refresh gets that one's token.
const PAUSE: Duration = Duration::from_millis(1100);

#[tokio::main]
async fn main() -> ExitCode {
    match get_tokens().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {}", Report::new(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn get_tokens() -> Result<(), BoxError> {
    let http = Hyper::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let endpoint = Endpoint::discover(&needed("ISSUER")?)?;
    let store = Store::default();
    let refreshes = match optional("GRANT").as_deref() {
        None | Some("client_credentials") => false,
        Some("refresh_token") => true,
        Some(other) => return Err(format!("unknown grant `{other}`").into()),
    };
    let mut source = match refreshes {
        false => OAuth2Source::client_credentials(http, endpoint, client()?),
        true => {
            store.put(needed("REFRESH_TOKEN")?.into());
            let tokens = RefreshTokens::stored(store.clone());
            OAuth2Source::refresh_token(http, endpoint, client()?, tokens)
        }
    };
    if let Some(scope) = optional("SCOPE") {
        source = source.scope(&scope);
    }
    if let Some(resource) = optional("RESOURCE") {
        source = source.resource(&resource);
    }
    // Without retries, the first error is printed.
    let cache = TokenCache::builder(source).attempts(1).build();

    let mut token = cache.token().await?;
    print_status(&cache, &store);
    if refreshes {
        tokio::time::sleep(PAUSE).await;
        token = cache.refresh().await?;
        print_status(&cache, &store);
    }
    if let Some(file) = optional("TOKEN_FILE") {
        fs::write(file, token.expose_secret())?;
    }
    Ok(())
}

fn print_status(cache: &TokenCache, store: &Store) {
    let status = cache.status();
    let number = status.generation.unwrap_or_default();
    let seconds = status.expires_in.unwrap_or_default().as_secs();
    println!("ok: token {number}, usable for {seconds} s");
    let saved = store.saved();
    if saved > 0 {
        println!("ok: refresh tokens that were rotated so far: {saved}");
    }
}

fn client() -> Result<Client, BoxError> {
    let id = needed("CLIENT_ID")?;
    Ok(match optional("AUTH").as_deref() {
        None | Some("basic") => Client::basic(id, needed("CLIENT_SECRET")?),
        Some("post") => Client::post(id, needed("CLIENT_SECRET")?),
        Some("public") => Client::public(id),
        Some("assertion") => {
            let file = needed("ASSERTION_FILE")?;
            Client::assertion(id, move || {
                let read = fs::read_to_string(&file);
                async move { Ok(read?.trim().into()) }
            })
        }
        Some(other) => return Err(format!("unknown client authentication `{other}`").into()),
    })
}

/// A store for refresh tokens that counts the rotations. A program that must survive a restart writes them to a
/// file or a vault instead.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<(Option<SecretText>, usize)>>);

impl Store {
    fn put(&self, token: SecretText) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(token);
    }

    fn saved(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl RefreshTokenStore for Store {
    async fn load(&self) -> Result<SecretText, BoxError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0.clone().ok_or_else(|| "set REFRESH_TOKEN".into())
    }

    async fn save(&self, token: &SecretText) -> Result<(), BoxError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0 = Some(token.clone());
        kept.1 += 1;
        Ok(())
    }
}

/// Returns a variable that is set and not empty.
fn needed(name: &str) -> Result<String, BoxError> {
    optional(name).ok_or_else(|| format!("set {name}").into())
}

fn optional(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
