use super::*;

const LONG: Duration = Duration::from_secs(60);

fn issued(token: &str, refresh: Option<&str>) -> Result<Issued, SourceError> {
    Ok(Issued {
        token: Token::new(token)?,
        refresh_token: refresh.map(SecretText::from),
        id_token: None,
        scope: None,
    })
}

/// What is spent, in order, and how each is answered.
#[derive(Clone, Default)]
struct Spent(Arc<Mutex<Vec<String>>>);

impl Spent {
    fn note(&self, token: &SecretText) {
        self.0
            .lock()
            .unwrap()
            .push(token.expose_secret().to_owned());
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A store that cannot be written, and into which the test puts tokens.
#[derive(Clone)]
struct ReadOnly(Arc<Mutex<&'static str>>);

impl RefreshTokenStore for ReadOnly {
    async fn load(&self) -> Result<SecretText, BoxError> {
        Ok((*self.0.lock().unwrap()).into())
    }

    async fn save(&self, _: &SecretText) -> Result<(), BoxError> {
        Err("read only".into())
    }
}

#[tokio::test]
async fn a_rotated_refresh_token_is_used_next() {
    let (tokens, spent) = (RefreshTokens::new("r1"), Spent::default());
    for (n, next) in [Some("r2"), None, Some("r3"), None].into_iter().enumerate() {
        let seen = spent.clone();
        let send = move |token: SecretText| {
            seen.note(&token);
            async move { issued(&format!("t{n}"), next) }
        };
        tokens.exchange(LONG, send).await.unwrap();
    }
    assert_eq!(spent.taken(), ["r1", "r2", "r2", "r3"]);
}

#[tokio::test]
async fn one_that_cannot_be_kept_is_used_from_memory_until_somebody_logs_in() {
    let place = ReadOnly(Arc::new(Mutex::new("r1")));
    let (tokens, spent) = (RefreshTokens::stored(place.clone()), Spent::default());
    for next in ["r2", "r3", "r4", "r5"] {
        let seen = spent.clone();
        let send = move |token: SecretText| {
            seen.note(&token);
            async move { issued("t", Some(next)) }
        };
        tokens.exchange(LONG, send).await.unwrap();
        if next == "r3" {
            *place.0.lock().unwrap() = "login";
        }
    }
    assert_eq!(spent.taken(), ["r1", "r2", "login", "r4"]);
}

#[tokio::test]
async fn a_token_that_another_process_spent_is_looked_up_again() {
    let place = ReadOnly(Arc::new(Mutex::new("r1")));
    let (tokens, spent) = (RefreshTokens::stored(place.clone()), Spent::default());
    let seen = spent.clone();
    let send = move |token: SecretText| {
        seen.note(&token);
        // The other process has kept its own by the time of the answer.
        *place.0.lock().unwrap() = "r2";
        async move {
            match token.expose_secret() {
                "r1" => Err(SourceError::invalid_credentials("spent")),
                _ => issued("t", None),
            }
        }
    };
    tokens.exchange(LONG, send).await.unwrap();
    assert_eq!(spent.taken(), ["r1", "r2"]);
}

#[tokio::test]
async fn what_comes_back_is_kept_although_nobody_waits() {
    let (tokens, spent) = (RefreshTokens::new("r1"), Spent::default());
    let (answer, answered) = tokio::sync::oneshot::channel::<()>();
    let answered = Arc::new(Mutex::new(Some(answered)));
    let seen = spent.clone();
    let send = move |token: SecretText| {
        seen.note(&token);
        let answered = answered.lock().unwrap().take();
        async move {
            if let Some(answered) = answered {
                answered.await.unwrap();
            }
            issued("t", Some("r2"))
        }
    };
    let mut exchange = tokio_test::task::spawn(tokens.exchange(LONG, send.clone()));
    tokio_test::assert_pending!(exchange.poll());
    while spent.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(exchange);
    answer.send(()).unwrap();
    tokens.exchange(LONG, send).await.unwrap();
    assert_eq!(spent.taken(), ["r1", "r2"]);
}

/// The other process was a moment later with its token than this one with its second look.
#[tokio::test]
async fn a_refusal_ends_with_another_token_in_a_store_that_tells_no_epoch() {
    let clock = crate::clock::ManualClock::new();
    let place = ReadOnly(Arc::new(Mutex::new("r1")));
    let (tokens, spent) = (RefreshTokens::stored(place.clone()), Spent::default());
    let seen = spent.clone();
    let source = crate::source_fn(move |cx| {
        let (tokens, seen) = (tokens.clone(), seen.clone());
        async move {
            let send = move |token: SecretText| {
                seen.note(&token);
                async move {
                    match token.expose_secret() {
                        "r1" => Err(SourceError::invalid_credentials("spent")),
                        _ => issued("t", None),
                    }
                }
            };
            tokens.exchange(cx.time_left(), send).await
        }
    });
    let cache = crate::TokenCache::builder(source)
        .clock(clock.clone())
        .seed(7)
        .build();
    for _ in 0..3 {
        assert!(cache.token().await.unwrap_err().is_invalid_credentials());
        clock.advance(Duration::from_secs(600));
    }
    // What was refused is never sent again.
    assert_eq!(spent.taken(), ["r1"]);
    *place.0.lock().unwrap() = "r2";
    clock.advance(Duration::from_secs(600));
    cache.token().await.unwrap();
    assert_eq!(spent.taken(), ["r2"]);
}
