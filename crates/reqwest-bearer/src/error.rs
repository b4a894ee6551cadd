//! The token error in an error of the client.

use std::{error, fmt};

use reqwest_middleware::Error;
use tower_bearer::BoxError;

/// Finds the token error in an error, through all that other middleware wrapped around it.
///
/// It returns `None` if the request failed for another reason.
///
/// ```
/// # async fn example(client: reqwest_middleware::ClientWithMiddleware) {
/// match client.get("https://api.example/things").send().await {
///     Ok(response) => println!("{}", response.status()),
///     Err(error) => match reqwest_bearer::token_error(&error) {
///         Some(token) if token.is_invalid_credentials() => println!("check the secret: {token}"),
///         Some(token) => println!("no token: {token}"),
///         None => println!("the request itself failed: {error}"),
///     },
/// }
/// # }
/// ```
#[must_use]
pub fn token_error<'a>(error: &'a (dyn error::Error + 'static)) -> Option<&'a tower_bearer::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        if let Some(Carrier(found)) = error.downcast_ref() {
            return Some(found);
        }
        if let Some(Error::Middleware(inner)) = error.downcast_ref() {
            let found = inner.downcast_ref().or_else(|| token_error(inner.as_ref()));
            if found.is_some() {
                return found;
            }
        }
        next = error.source();
    }
    None
}

/// A token error, as the source of itself, with the same text: reports write that once.
///
/// Middleware wraps errors transparently: the wrapper shows the text and the source of what it holds, and
/// hides its type. So the type must be found one step further down.
#[derive(Debug)]
struct Carrier(tower_bearer::Error);

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl error::Error for Carrier {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source()
    }
}

pub(crate) fn into_middleware_error(error: BoxError) -> Error {
    let error = match error.downcast::<Error>() {
        Ok(error) => return *error,
        Err(error) => error,
    };
    Error::Middleware(match error.downcast::<tower_bearer::Error>() {
        Ok(ours) => anyhow::Error::new(Carrier((*ours).clone())).context(*ours),
        Err(other) => anyhow::Error::from_boxed(other),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::Response;
    use reqwest_middleware::{ClientBuilder, Middleware, Next};
    use reqwest_retry::{
        RetryTransientMiddleware, Retryable, RetryableStrategy, policies::ExponentialBackoff,
    };
    use tower_bearer::{BearerAuthLayer, SourceError, TokenCache, source_fn};

    use super::*;
    use crate::BearerAuthMiddleware;

    /// Retries each error, as few strategies do.
    struct EachError;

    impl RetryableStrategy for EachError {
        fn handle(&self, result: &Result<Response, Error>) -> Option<Retryable> {
            result.is_err().then_some(Retryable::Transient)
        }
    }

    /// Wraps errors as most middleware does.
    struct Wraps;

    #[derive(Debug)]
    struct Wrapped(Error);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "the call failed: {}", self.0)
        }
    }

    impl error::Error for Wrapped {
        fn source(&self) -> Option<&(dyn error::Error + 'static)> {
            self.0.source()
        }
    }

    #[async_trait::async_trait]
    impl Middleware for Wraps {
        async fn handle(
            &self,
            request: reqwest::Request,
            extensions: &mut http::Extensions,
            next: Next<'_>,
        ) -> Result<Response, Error> {
            let answered = next.run(request, extensions).await;
            answered.map_err(|error| Error::middleware(Wrapped(error)))
        }
    }

    fn retries(count: u32) -> RetryTransientMiddleware<ExponentialBackoff, EachError> {
        let at_once = Duration::from_millis(1);
        let policy = ExponentialBackoff::builder().retry_bounds(at_once, at_once);
        let policy = policy.build_with_max_retries(count);
        RetryTransientMiddleware::new_with_policy_and_strategy(policy, EachError)
    }

    fn bearer() -> BearerAuthMiddleware {
        let source = source_fn(|_| async {
            Err(SourceError::invalid_credentials(
                "the endpoint refused `ci-bot`",
            ))
        });
        let layer = BearerAuthLayer::new(TokenCache::new(source));
        BearerAuthMiddleware::new(layer.allow("http://127.0.0.1:9").unwrap())
    }

    #[tokio::test]
    async fn p03_the_token_error_is_found_in_any_order_of_middleware() {
        let provider = rustls::crypto::ring::default_provider();
        // Another test may have set it.
        let _already = provider.install_default();
        let client = || ClientBuilder::new(reqwest::Client::new());
        for (order, client) in [
            ("alone", client().with(bearer())),
            ("no retry outside", client().with(retries(0)).with(bearer())),
            ("retries outside", client().with(retries(2)).with(bearer())),
            ("retries inside", client().with(bearer()).with(retries(2))),
            ("wrapped", client().with(Wraps).with(bearer())),
            (
                "wrapped around retries",
                client()
                    .with(Wraps)
                    .with(Wraps)
                    .with(retries(0))
                    .with(bearer()),
            ),
            (
                "retries around wrapped",
                client().with(retries(2)).with(Wraps).with(bearer()),
            ),
        ] {
            let request = client.build().get("http://127.0.0.1:9/");
            let error = request.send().await.unwrap_err();
            let found = token_error(&error).map(tower_bearer::Error::is_invalid_credentials);
            assert_eq!(found, Some(true), "{order}: {error:?}");
        }
        let without = client().build().get("http://127.0.0.1:9/");
        assert!(token_error(&without.send().await.unwrap_err()).is_none());
    }

    #[test]
    fn p02_a_lone_token_error_tells_all_and_is_one_by_type() {
        let ours = tower_bearer::Error::from(
            SourceError::transient("nothing listens at https://idp.example").with_advice("wait"),
        );
        let error = into_middleware_error(Box::new(ours));
        assert_eq!(
            error.to_string(),
            "nothing listens at https://idp.example: wait"
        );
        let Error::Middleware(inner) = &error else {
            panic!("{error}");
        };
        assert!(inner.downcast_ref::<tower_bearer::Error>().is_some());
    }
}
