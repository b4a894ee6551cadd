//! Peers that hand out a token or headers, and leave the request to their caller: one call per request.

use std::{future::Future, sync::Arc};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tokio::runtime::Runtime;
use tower_service::Service;

use super::{Boxed, Client, No, Stamp, ours::Judge};
use crate::{
    source::Api,
    stacks,
    workload::{Body, Noop, finish, request},
};

/// What stamps a request.
pub trait Tokens: Send + Sync + 'static {
    /// Puts the token onto a request.
    fn stamp(&self, request: &mut Request<Body>)
    -> impl Future<Output = Result<(), String>> + Send;

    /// Takes note of a 401; whether it is worth sending the request again.
    fn rejected(&self, response: &HeaderMap) -> bool {
        let _ = response;
        false
    }
}

/// A header of a token.
pub fn bearer(token: &str) -> Result<HeaderValue, String> {
    let header = HeaderValue::try_from(format!("Bearer {token}"));
    let mut header = header.map_err(|it| it.to_string())?;
    header.set_sensitive(true);
    Ok(header)
}

/// A client around it that sends a rejected request once more, if the peer says so.
pub struct Calls<T>(Arc<T>, Judge);

impl<T: Tokens> Calls<T> {
    pub fn client(tokens: T, api: Arc<Api>) -> Arc<dyn Client> {
        Arc::new(Self(Arc::new(tokens), Judge(api)))
    }
}

impl<T: Tokens> Client for Calls<T> {
    fn send(&self) -> Boxed<Result<StatusCode, String>> {
        let (tokens, mut judge) = (self.0.clone(), self.1.clone());
        Box::pin(async move {
            let response = once(&*tokens, &mut judge).await?;
            let again = response.status() == StatusCode::UNAUTHORIZED
                && tokens.rejected(response.headers());
            match again {
                true => Ok(once(&*tokens, &mut judge).await?.status()),
                false => Ok(response.status()),
            }
        })
    }
}

async fn once<T, S>(tokens: &T, inner: &mut S) -> Result<Response<Body>, String>
where
    T: Tokens,
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: ToString,
{
    let mut request = request();
    tokens.stamp(&mut request).await?;
    inner.call(request).await.map_err(|it| it.to_string())
}

/// Times the call, the request and the service that does nothing, as one future that is not boxed.
pub fn timed<T: Tokens>(runtime: &Runtime, tokens: T) -> Result<Stamp, No> {
    runtime.block_on(tokens.stamp(&mut request()))?;
    let tokens = Arc::new(tokens);
    Ok(Stamp {
        with: Box::new(move || {
            let tokens = tokens.clone();
            Box::new(move |requests| {
                for _ in 0..requests {
                    let response = finish(once(&*tokens, &mut Noop));
                    assert!(response.is_ok());
                    std::hint::black_box(response).ok();
                }
            })
        }),
        bare: stacks::make(Noop, false),
    })
}

/// Inserts an `Authorization` header.
pub fn insert(request: &mut Request<Body>, header: HeaderValue) {
    request.headers_mut().insert(header::AUTHORIZATION, header);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Tokens for Fixed {
        async fn stamp(&self, request: &mut Request<Body>) -> Result<(), String> {
            insert(request, bearer("1.x")?);
            Ok(())
        }

        fn rejected(&self, _: &HeaderMap) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn a_stamped_request_is_judged() {
        let api = Arc::new(Api::default());
        let client = Calls::client(Fixed, api.clone());
        assert_eq!(client.send().await, Ok(StatusCode::OK));
        api.revoke(1);
        assert_eq!(client.send().await, Ok(StatusCode::UNAUTHORIZED));
    }
}
