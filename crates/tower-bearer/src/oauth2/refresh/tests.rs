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
    // The next call takes what came late, and the one after that redeems its successor.
    for _ in 0..2 {
        tokens.exchange(LONG, send.clone()).await.unwrap();
    }
    assert_eq!(spent.taken(), ["r1", "r2"]);
}

/// An endpoint that rotates refresh tokens, and whose first answer takes until the test sends it.
fn slow(
    spent: &Spent,
) -> (
    oneshot::Sender<()>,
    impl Fn(SecretText) -> Answering + Clone + use<>,
) {
    let (answer, answered) = oneshot::channel::<()>();
    let answered = Arc::new(Mutex::new(Some(answered)));
    let seen = spent.clone();
    let send = move |token: SecretText| -> Answering {
        seen.note(&token);
        let answered = answered.lock().unwrap().take();
        let next = format!("{}+", token.expose_secret());
        Box::pin(async move {
            if let Some(answered) = answered {
                answered.await.unwrap();
            }
            let mut issued = issued(&next, Some(&next))?;
            issued.token = issued.token.expires_in(Duration::from_secs(3600));
            Ok(issued)
        })
    };
    (answer, send)
}

type Answering = Pin<Box<dyn Future<Output = Result<Issued, SourceError>> + Send>>;

#[tokio::test]
async fn l40_a_refresh_token_is_not_sent_twice_while_its_answer_may_still_come() {
    let (tokens, spent) = (RefreshTokens::new("r"), Spent::default());
    let (answer, send) = slow(&spent);
    let soon = Duration::from_millis(20);
    for _ in 0..3 {
        let error = tokens.exchange(soon, send.clone()).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    assert_eq!(spent.taken(), ["r"]);
    // What comes late is not lost: neither the access token, nor the refresh token.
    let next = tokens.exchange(LONG, send.clone());
    answer.send(()).unwrap();
    let late = next.await.unwrap();
    assert_eq!(late.expose_secret(), "r+");
    let left = late.stated_lifetime().0.unwrap();
    assert!(left > Duration::from_secs(3500) && left < Duration::from_secs(3600));
    let token = tokens.exchange(LONG, send).await.unwrap();
    assert_eq!(token.expose_secret(), "r++");
    assert_eq!(spent.taken(), ["r+"]);
}

#[tokio::test]
async fn l40_a_late_token_of_another_login_is_not_used() {
    let place = ReadOnly(Arc::new(Mutex::new("r")));
    let (tokens, spent) = (RefreshTokens::stored(place.clone()), Spent::default());
    let (answer, send) = slow(&spent);
    let soon = Duration::from_millis(20);
    tokens.exchange(soon, send.clone()).await.unwrap_err();
    *place.0.lock().unwrap() = "login";
    answer.send(()).unwrap();
    let token = tokens.exchange(LONG, send).await.unwrap();
    assert_eq!(token.expose_secret(), "login+");
    assert_eq!(spent.taken(), ["r", "login"]);
}

#[tokio::test]
async fn two_uses_at_once_take_turns() {
    let (tokens, spent) = (RefreshTokens::new("r"), Spent::default());
    let (answer, send) = slow(&spent);
    let both = [
        tokio::spawn({
            let (tokens, send) = (tokens.clone(), send.clone());
            async move { tokens.exchange(LONG, send).await }
        }),
        tokio::spawn(async move { tokens.exchange(LONG, send).await }),
    ];
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*spent.0.lock().unwrap(), ["r"], "the second has not begun");
    answer.send(()).unwrap();
    for one in both {
        one.await.unwrap().unwrap();
    }
    assert_eq!(spent.taken(), ["r", "r+"]);
}

#[tokio::test]
async fn l41_a_refresh_token_is_used_again_after_the_client_was_refused() {
    let (tokens, spent) = (RefreshTokens::new("r1"), Spent::default());
    let is_corrected = Arc::new(Mutex::new(false));
    let (seen, corrected) = (spent.clone(), is_corrected.clone());
    let send = move |token: SecretText| {
        seen.note(&token);
        let is_corrected = *corrected.lock().unwrap();
        async move {
            match is_corrected {
                true => issued("t", None),
                false => Err(SourceError::invalid_credentials("invalid_client").about_the_client()),
            }
        }
    };
    let error = tokens.exchange(LONG, send.clone()).await.unwrap_err();
    assert!(error.is_invalid_credentials());
    *is_corrected.lock().unwrap() = true;
    tokens.exchange(LONG, send).await.unwrap();
    assert_eq!(spent.taken(), ["r1", "r1"]);
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

#[tokio::test]
async fn l41_only_invalid_grant_refuses_a_refresh_token() {
    for (code, sends) in [
        ("invalid_client", 2),
        ("unauthorized_client", 2),
        ("invalid_scope", 2),
        ("invalid_grant", 1),
    ] {
        let requests = Arc::new(Mutex::new(0));
        let seen = requests.clone();
        let http = tower::service_fn(
            move |_: http::Request<http_body_util::Full<bytes::Bytes>>| {
                *seen.lock().unwrap() += 1;
                let answer = format!(r#"{{"error":"{code}"}}"#);
                let answer = http_body_util::Full::new(bytes::Bytes::from(answer));
                let answer = http::Response::builder().status(400).body(answer).unwrap();
                async move { Ok::<_, std::convert::Infallible>(answer) }
            },
        );
        let endpoint = crate::oauth2::Endpoint::new("https://idp.example/token").unwrap();
        let client = crate::oauth2::Client::public("tests");
        let source = crate::oauth2::OAuth2Source::refresh_token(http, endpoint, client, "r1");
        let clock = crate::clock::ManualClock::new();
        let cache = crate::TokenCache::builder(source)
            .clock(clock.clone())
            .build();
        for _ in 0..2 {
            assert!(cache.token().await.unwrap_err().is_invalid_credentials());
            clock.advance(Duration::from_secs(600));
        }
        assert_eq!(*requests.lock().unwrap(), sends, "{code}");
    }
}
