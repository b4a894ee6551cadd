//! Tokens from an OAuth 2.0 provider, by tower-bearer alone, over hyper-util's client.
//!
//! ```text
//! ISSUER=http://127.0.0.1:3000 CLIENT_ID=ci-bot CLIENT_SECRET=s3cr3t cargo run --example oauth2_client
//! ```
//!
//! | variable | means |
//! | --- | --- |
//! | `ISSUER` | whose discovery document names the token endpoint |
//! | `CLIENT_ID` | the client |
//! | `AUTH` | how the client is proven: `basic` (the default), `post`, `assertion` or `public` |
//! | `CLIENT_SECRET` | for `basic` and `post` |
//! | `ASSERTION_FILE` | for `assertion`: a file with a signed JWT, read at each fetch |
//! | `GRANT` | `client_credentials` (the default) or `refresh_token` |
//! | `REFRESH_TOKEN` | for `refresh_token` |
//! | `SCOPE`, `RESOURCE` | what to ask for, if anything |
//! | `TOKEN_FILE` | where to write the access token, if anywhere |
//!
//! With `GRANT=refresh_token` it gets two tokens, one after the other: where the provider rotates
//! refresh tokens the second comes only if the rotated one was kept.
//!
//! It speaks plain HTTP, for a provider on loopback. The exit status is 0 only if all tokens came.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    env,
    error::Error,
    fs,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{client::legacy::Client as Hyper, rt::TokioExecutor};
use tower_bearer::{
    BoxError, TokenCache,
    oauth2::{Client, Endpoint, OAuth2Source, RefreshTokenStore, RefreshTokens, SecretText},
};

/// A refresh made within a second of the last is answered with that one's token.
const BETWEEN_TWO: Duration = Duration::from_millis(1100);

#[tokio::main]
async fn main() -> ExitCode {
    match get_tokens().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn get_tokens() -> Result<(), BoxError> {
    let http = Hyper::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let endpoint = Endpoint::discover(&needed("ISSUER")?)?;
    let kept = Kept::default();
    let refreshes = match optional("GRANT").as_deref() {
        None | Some("client_credentials") => false,
        Some("refresh_token") => true,
        Some(other) => return Err(format!("there is no grant `{other}` here").into()),
    };
    let mut source = match refreshes {
        false => OAuth2Source::client_credentials(http, endpoint, client()?),
        true => {
            kept.put(needed("REFRESH_TOKEN")?.into());
            let tokens = RefreshTokens::stored(kept.clone());
            OAuth2Source::refresh_token(http, endpoint, client()?, tokens)
        }
    };
    if let Some(scope) = optional("SCOPE") {
        source = source.scope(&scope);
    }
    if let Some(resource) = optional("RESOURCE") {
        source = source.resource(&resource);
    }
    // One try: what is refused is told as it is.
    let cache = TokenCache::builder(source).attempts(1).build();

    let mut token = cache.token().await?;
    say_what_came(&cache, &kept);
    if refreshes {
        tokio::time::sleep(BETWEEN_TWO).await;
        token = cache.refresh().await?;
        say_what_came(&cache, &kept);
    }
    if let Some(file) = optional("TOKEN_FILE") {
        fs::write(file, token.expose_secret())?;
    }
    Ok(())
}

fn say_what_came(cache: &TokenCache, kept: &Kept) {
    let status = cache.status();
    let number = status.generation.unwrap_or_default();
    let seconds = status.expires_in.unwrap_or_default().as_secs();
    println!("ok: token {number}, which may be used for {seconds} s");
    let saved = kept.saved();
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
        Some(other) => return Err(format!("there is no proof `{other}` here").into()),
    })
}

/// A store for refresh tokens that counts how often another one came. A program that outlives one run
/// writes them to a file or a vault instead.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<(Option<SecretText>, usize)>>);

impl Kept {
    fn put(&self, token: SecretText) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(token);
    }

    fn saved(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl RefreshTokenStore for Kept {
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

/// A variable that is set and not empty.
fn needed(name: &str) -> Result<String, BoxError> {
    optional(name).ok_or_else(|| format!("set {name}").into())
}

fn optional(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// An error with all that caused it, on one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
