//! Bounds that hold for sources and callers of any kind (L08, L09, L26 to L35).

use std::{
    borrow::Cow,
    convert::Infallible,
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, ServiceExt, service_fn};
use tower_bearer::{
    BearerAuthLayer, FetchContext, Kind, Phase, ReplayBody, RequestOptions, SourceError, Token,
    TokenCache, TokenSource, clock::ManualClock, source_fn,
};

use crate::support::{cache, scripted, settle, token};

fn down() -> SourceError {
    SourceError::transient("down")
}

#[tokio::test]
async fn l08_a_source_that_asks_its_own_cache_is_told_so_at_once() {
    static CACHE: OnceLock<TokenCache> = OnceLock::new();
    let source = source_fn(|_| async {
        let cache = CACHE.get().expect("it is set before it is asked");
        let asked = cache.token().await;
        Ok(token(asked.map_err(|_| down())?.expose_secret()))
    });
    let cache = CACHE.get_or_init(|| {
        TokenCache::builder(source)
            .clock(ManualClock::new())
            .build()
    });
    let error = cache.token().await.unwrap_err();
    assert_eq!(*error.kind(), Kind::Reentrant);
    assert!(!error.is_transient() && error.advice().is_some());
    assert_eq!(cache.status().counts.fetches, 1);
}

#[tokio::test]
async fn l08_so_is_one_that_asks_through_the_layer_or_leaves_that_to_a_task() {
    for by_task in [false, true] {
        let own: Arc<OnceLock<TokenCache>> = Arc::default();
        let known = own.clone();
        let source = source_fn(move |_| {
            let cache = known.get().unwrap().clone();
            async move {
                let inner = service_fn(async |_: Request<ReplayBody<Empty<Bytes>>>| {
                    Ok::<_, Infallible>(Response::new(()))
                });
                let layer = BearerAuthLayer::new(cache);
                let layer = layer.allow("https://idp.example").unwrap();
                let request = Request::get("https://idp.example/").body(Empty::new());
                let mut service = layer.layer(inner);
                let asked = tower::Service::call(&mut service, request.unwrap());
                let asked = match by_task {
                    // It was made here, and is polled there.
                    true => tokio::spawn(asked).await.unwrap().map(drop),
                    false => asked.await.map(drop),
                };
                let error = asked.unwrap_err();
                Err(SourceError::transient("the exchange broke off").with_source(error))
            }
        });
        let cache = TokenCache::builder(source)
            .clock(ManualClock::new())
            .build();
        own.set(cache.clone()).ok();
        let error = cache.token().await.unwrap_err();
        assert_eq!(*error.kind(), Kind::Reentrant, "{by_task}");
        assert_eq!(cache.status().counts.fetches, 1);
    }
}

#[tokio::test]
async fn l08_a_source_may_ask_another_cache() {
    let (other, control) = cache();
    control.fill(&other, "theirs").await;
    let cache = TokenCache::new(source_fn(move |_| {
        let other = other.clone();
        async move {
            let theirs = other.token().await.map_err(|_| down())?;
            Ok(token(&format!("{}-exchanged", theirs.expose_secret())))
        }
    }));
    let exchanged = cache.token().await.unwrap();
    assert_eq!(exchanged.expose_secret(), "theirs-exchanged");
}

#[tokio::test]
async fn l09_the_same_token_until_shortly_before_its_end_costs_a_handful_of_calls() {
    for seed in 0..3 {
        let (builder, control) = scripted();
        let cache = builder.seed(seed).build();
        let until = |secs: u64| std::time::UNIX_EPOCH + Duration::from_secs(1_893_456_000 + secs);
        let mut events = cache.subscribe();
        let mut per_token = Vec::new();
        let mut now = 0;
        let mut end = 0;
        while now < 20 * 3600 {
            drop(task::spawn(cache.token()).poll());
            if cache.status().phase == Phase::Refreshing {
                settle().await;
            }
            if let Some(fetching) = control.asked_by_now() {
                // A metadata server: another token only in the last four minutes.
                if now + 240 > end {
                    end = now + 3600;
                    per_token.push(0);
                }
                *per_token.last_mut().unwrap() += 1;
                let token = Token::new(format!("t{}", per_token.len())).unwrap();
                fetching.answer(Ok(token.expires_at(until(end))));
                settle().await;
                let outcome = events.next().await.unwrap().outcome;
                assert!(
                    matches!(outcome.as_str(), "refreshed" | "unchanged"),
                    "{outcome:?}"
                );
            }
            assert!(cache.has_token() && cache.is_ready());
            control.advance(5.0);
            now += 5;
        }
        assert!(per_token.iter().all(|calls| *calls <= 6), "{per_token:?}");
        assert_eq!(cache.status().counts.failed_refreshes, 0);
    }
}

/// A source that answers at once: fetches are counted, the epoch is what the test says.
struct Quick<E> {
    fetches: Arc<AtomicUsize>,
    epoch: E,
    takes: Duration,
    clock: ManualClock,
}

impl<E: Fn() -> u64 + Send + Sync + 'static> TokenSource for Quick<E> {
    fn fetch(&self, _: &FetchContext) -> impl Future<Output = Result<Token, SourceError>> + Send {
        let nth = self.fetches.fetch_add(1, Ordering::SeqCst);
        let takes = (!self.takes.is_zero())
            .then(|| tower_bearer::clock::Clock::sleep(&self.clock, self.takes));
        async move {
            if let Some(takes) = takes {
                takes.await;
            }
            Ok(token(&format!("t{nth}")))
        }
    }

    fn epoch(&self) -> u64 {
        (self.epoch)()
    }
}

fn quick<E>(epoch: E, takes: f64) -> (TokenCache, Arc<AtomicUsize>, ManualClock)
where
    E: Fn() -> u64 + Send + Sync + 'static,
{
    let clock = ManualClock::new();
    let fetches = Arc::new(AtomicUsize::new(0));
    let source = Quick {
        fetches: fetches.clone(),
        epoch,
        takes: Duration::from_secs_f64(takes),
        clock: clock.clone(),
    };
    let cache = TokenCache::builder(source).clock(clock.clone()).seed(7);
    (cache.build(), fetches, clock)
}

#[tokio::test]
async fn l26_a_hundred_forced_refreshes_a_second_are_one_fetch_a_second() {
    for with_rejections in [false, true] {
        let (cache, fetches, clock) = quick(|| 0, 0.0);
        cache.token().await.unwrap();
        let rejected = Arc::new(AtomicUsize::new(0));
        for turn in 0..1000 {
            if with_rejections {
                // The application has seen a 401, says so, and wants a new token.
                if let Some(token) = cache.peek() {
                    drop(cache.reject(&token));
                    rejected.fetch_add(1, Ordering::SeqCst);
                }
            }
            let forced = cache.refresh().await;
            if !with_rejections {
                assert!(forced.is_ok(), "{turn}");
            }
            settle().await;
            clock.advance(Duration::from_millis(10));
        }
        // Ten seconds, and the limiter's four.
        let most = if with_rejections { 12 + 4 } else { 12 };
        let fetches = fetches.load(Ordering::SeqCst);
        assert!(
            (8..=most).contains(&fetches),
            "{with_rejections}: {fetches}"
        );
    }
}

#[tokio::test]
async fn l27_a_secret_that_changes_at_each_look_costs_bounded_fetches_and_says_why() {
    // Where several look at once, each gives the others' refresh up before it has begun.
    for (count, range) in [(1, 60..=130), (3, 0..=130)] {
        let epoch = AtomicU64::new(0);
        let (cache, fetches, clock) = quick(move || epoch.fetch_add(1, Ordering::SeqCst), 0.0);
        for _ in 0..3600 {
            let callers: Vec<_> = (0..count).map(|_| tokio::spawn(cache.token())).collect();
            for caller in callers {
                let error = caller.await.unwrap().unwrap_err();
                assert!(error.message().contains("changed its secret"), "{error}");
            }
            clock.advance(Duration::from_secs(1));
        }
        let fetches = fetches.load(Ordering::SeqCst);
        assert!(range.contains(&fetches), "{fetches} in an hour");
    }
}

#[tokio::test]
async fn l27_so_does_one_that_changes_each_second_while_a_fetch_takes_two() {
    let passed: Arc<AtomicU64> = Arc::default();
    let epoch = passed.clone();
    let (cache, fetches, clock) = quick(move || epoch.load(Ordering::SeqCst), 2.0);
    let mut callers = Vec::new();
    for _ in 0..3600 {
        callers.push(task::spawn(cache.token()));
        for caller in &mut callers {
            drop(caller.poll());
        }
        settle().await;
        clock.advance(Duration::from_millis(1000));
        passed.fetch_add(1, Ordering::SeqCst);
        callers.retain_mut(|caller| match caller.poll() {
            std::task::Poll::Pending => true,
            std::task::Poll::Ready(got) => {
                let error = got.unwrap_err();
                assert!(error.message().contains("changed its secret"), "{error}");
                false
            }
        });
    }
    let fetches = fetches.load(Ordering::SeqCst);
    assert!((30..=130).contains(&fetches), "{fetches} in an hour");
}

/// Where a source panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Fetch,
    Poll,
    Drop,
    Describe,
    DescribeAfterTimeout,
    Epoch,
    EpochWhileItFetches,
}

struct Panicking {
    at: At,
    fetches: Arc<AtomicUsize>,
    works: Arc<AtomicUsize>,
}

struct PanicsInDrop(bool);

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        assert!(!self.0, "a bug in the fetch's drop");
    }
}

impl Panicking {
    fn is_at(&self, at: At) -> bool {
        self.at == at && self.works.load(Ordering::SeqCst) == 0
    }
}

impl TokenSource for Panicking {
    fn fetch(&self, _: &FetchContext) -> impl Future<Output = Result<Token, SourceError>> + Send {
        let nth = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(!self.is_at(At::Fetch), "a bug when the fetch is made");
        let guard = PanicsInDrop(self.is_at(At::Drop));
        let hangs = self.is_at(At::DescribeAfterTimeout);
        let panics = self.is_at(At::Poll);
        async move {
            let _guard = guard;
            assert!(!panics, "a bug when the fetch is polled");
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok(token(&format!("t{nth}")))
        }
    }

    fn describe(&self) -> Cow<'_, str> {
        let panics = self.is_at(At::Describe) || self.is_at(At::DescribeAfterTimeout);
        assert!(!panics, "a bug in describe");
        "the test".into()
    }

    fn epoch(&self) -> u64 {
        let has_begun = self.fetches.load(Ordering::SeqCst) > 0;
        let panics = self.is_at(At::Epoch) || (self.is_at(At::EpochWhileItFetches) && has_begun);
        assert!(!panics, "a bug in epoch");
        0
    }
}

#[tokio::test]
async fn l28_a_panic_in_any_of_a_sources_functions_is_a_failed_refresh_with_backoff() {
    for at in [
        At::Fetch,
        At::Poll,
        At::Drop,
        At::Describe,
        At::DescribeAfterTimeout,
        At::Epoch,
        At::EpochWhileItFetches,
    ] {
        let clock = ManualClock::new();
        let fetches: Arc<AtomicUsize> = Arc::default();
        let works: Arc<AtomicUsize> = Arc::default();
        let source = Panicking {
            at,
            fetches: fetches.clone(),
            works: works.clone(),
        };
        let builder = TokenCache::builder(source).clock(clock.clone());
        let cache = builder.seed(7).attempts(1).build();
        let mut callers: Vec<_> = (0..20).map(|_| task::spawn(cache.token())).collect();
        for caller in &mut callers {
            assert_pending!(caller.poll());
        }
        settle().await;
        if at == At::DescribeAfterTimeout {
            clock.advance(Duration::from_secs(10));
            settle().await;
        }
        for mut caller in callers {
            let error = assert_ready!(caller.poll()).unwrap_err();
            let expected = match at {
                At::DescribeAfterTimeout => Kind::TimedOut,
                _ => Kind::Panicked,
            };
            let is_it = *error.kind() == expected || *error.kind() == Kind::Panicked;
            assert!(is_it, "{at:?}: {error}");
        }
        assert_eq!(fetches.load(Ordering::SeqCst), 1, "{at:?}");
        assert_eq!(cache.status().phase, Phase::Backoff, "{at:?}");
        // Once it works, the next attempt succeeds; later panics harm nobody who has a usable token.
        works.store(1, Ordering::SeqCst);
        clock.advance(Duration::from_secs(60));
        assert_eq!(cache.token().await.unwrap().generation(), 1, "{at:?}");
        works.store(0, Ordering::SeqCst);
        clock.advance(Duration::from_secs(2975));
        for _ in 0..5 {
            assert_eq!(cache.token().await.unwrap().generation(), 1, "{at:?}");
            settle().await;
        }
        assert!(fetches.load(Ordering::SeqCst) <= 3, "{at:?}");
    }
}

#[tokio::test]
async fn l29_a_new_secrets_first_refusal_starts_anew() {
    let (cache, control) = cache();
    let refused = || SourceError::invalid_credentials("no");
    let mut waits = Vec::new();
    for _ in 0..3 {
        let caller = tokio::spawn(cache.token());
        control.asked().await.answer(Err(refused()));
        waits.push(caller.await.unwrap().unwrap_err().retry_after().unwrap());
        control.clock.advance(*waits.last().unwrap());
    }
    assert_eq!(waits.last(), Some(&Duration::from_secs(40)));
    // The secret changes while the fourth is refused.
    let caller = tokio::spawn(cache.token());
    let fourth = control.asked().await;
    control.change_secret();
    fourth.answer(Err(refused()));
    control.asked().await.answer(Err(refused()));
    let error = caller.await.unwrap().unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(10)));
}

#[tokio::test]
async fn l30_a_fixed_secret_is_never_handed_to_who_saw_it_rejected() {
    let fetches: Arc<AtomicUsize> = Arc::default();
    let counted = fetches.clone();
    let clock = ManualClock::new();
    let source = source_fn(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(Token::new("fixed")?) }
    });
    let cache = TokenCache::builder(source).clock(clock.clone()).build();
    let fixed = cache.token().await.unwrap();
    for secs in [0, 10, 300, 300, 3600] {
        clock.advance(Duration::from_secs(secs));
        let before = fetches.load(Ordering::SeqCst);
        cache.reject(&fixed).await.unwrap_err();
        settle().await;
        let cost = fetches.load(Ordering::SeqCst) - before;
        assert!(cost <= 1, "{cost} fetches after {secs} s");
    }
}

#[tokio::test]
async fn l30_nor_is_one_that_comes_again_under_another_generation() {
    let (cache, control) = cache();
    let t1 = control.fill(&cache, "t1").await;
    let replaced = tokio::spawn(cache.reject(&t1));
    control.asked().await.token("t2");
    replaced.await.unwrap().unwrap();
    // Both have ended, and the source gives the first again.
    control.advance(7200.0);
    control.fill(&cache, "t1").await;
    let late = tokio::spawn(cache.reject(&t1));
    control.asked().await.token("t4");
    assert_eq!(late.await.unwrap().unwrap().expose_secret(), "t4");
    // Nor if it comes while the caller waits.
    let t4 = cache.token().await.unwrap();
    control.advance(7200.0);
    let late = tokio::spawn(cache.reject(&t4));
    control.asked().await.token("t4");
    let error = late.await.unwrap().unwrap_err();
    assert_eq!(*error.kind(), Kind::Unchanged);
    assert_eq!(cache.token().await.unwrap().expose_secret(), "t4");
}

#[tokio::test]
async fn l30_a_foreign_token_marks_nothing_whatever_its_generation() {
    let (ours, control) = cache();
    let (theirs, their_control) = cache();
    control.fill(&ours, "o1").await;
    their_control.fill(&theirs, "f1").await;
    their_control.advance(7200.0);
    let foreign = their_control.fill(&theirs, "f2").await;
    assert_eq!(foreign.generation(), 2);
    // This cache reaches that generation while the caller waits, and later.
    control.advance(7200.0);
    let waiting = tokio::spawn(ours.reject(&foreign));
    control.asked().await.token("o2");
    let o2 = waiting.await.unwrap().unwrap();
    assert_eq!((o2.expose_secret(), o2.generation()), ("o2", 2));
    assert_eq!(ours.reject(&foreign).await.unwrap().expose_secret(), "o2");
    assert!(!ours.status().rejected);
    // A token of nobody's is foreign as well.
    let nobodys = Token::new("nobodys").unwrap();
    assert_eq!(ours.reject(&nobodys).await.unwrap().expose_secret(), "o2");
    assert_eq!(control.calls(), 2);
}

#[tokio::test]
async fn l31_a_caller_that_is_polled_late_gets_what_is_current() {
    // Its refresh failed, and a later one succeeded.
    for is_forced in [false, true] {
        let (builder, control) = scripted();
        let cache = builder.attempts(1).build();
        let first = if is_forced {
            control.fill(&cache, "t0").await;
            control.advance(2.0);
            cache.refresh()
        } else {
            cache.token()
        };
        let mut late = task::spawn(first);
        assert_pending!(late.poll());
        control.asked().await.answer(Err(down()));
        settle().await;
        control.advance(60.0);
        let next = tokio::spawn(cache.refresh());
        control.asked().await.token("t1");
        next.await.unwrap().unwrap();
        assert_eq!(assert_ready!(late.poll()).unwrap().expose_secret(), "t1");
    }
}

#[tokio::test]
async fn l31_a_late_caller_never_gets_a_token_that_was_rejected_since() {
    let (cache, control) = cache();
    let t1 = control.fill(&cache, "t1").await;
    let replaced = tokio::spawn(cache.reject(&t1));
    control.asked().await.token("t2");
    let t2 = replaced.await.unwrap().unwrap();
    // The look was made when t2 was good.
    let mut late = task::spawn(cache.reject(&t1));
    let replaced = tokio::spawn(cache.reject(&t2));
    control.asked().await.token("t3");
    replaced.await.unwrap().unwrap();
    assert_eq!(assert_ready!(late.poll()).unwrap().expose_secret(), "t3");
    // Nor one that has expired.
    let mut late = task::spawn(cache.reject(&t1));
    control.advance(7200.0);
    assert_pending!(late.poll());
    control.asked().await.token("t4");
    settle().await;
    assert_eq!(assert_ready!(late.poll()).unwrap().expose_secret(), "t4");
}

#[tokio::test]
async fn l31_an_error_found_early_gives_way_to_a_token() {
    let (cache, control) = cache();
    let mut current = control.fill(&cache, "t1").await;
    for secret in ["t2", "t3"] {
        let replaced = tokio::spawn(cache.reject(&current));
        control.asked().await.token(secret);
        current = replaced.await.unwrap().unwrap();
    }
    let mut limited = task::spawn(cache.reject(&current));
    let forced = tokio::spawn(cache.refresh());
    control.asked().await.token("t4");
    forced.await.unwrap().unwrap();
    assert_eq!(assert_ready!(limited.poll()).unwrap().expose_secret(), "t4");
}

#[tokio::test]
async fn l32_a_rejection_of_a_token_that_has_ended_adds_one_attempt() {
    for has_company in [false, true] {
        let (cache, control) = cache();
        let t1 = control.fill(&cache, "t1").await;
        control.advance(3570.0);
        let mut company = task::spawn(cache.token());
        if has_company {
            assert_pending!(company.poll());
        }
        let mut rejecter = task::spawn(cache.reject(&t1));
        assert_pending!(rejecter.poll());
        let hanging = control.asked().await;
        control.advance(9.9);
        settle().await;
        assert_pending!(rejecter.poll());
        control.advance(0.1);
        settle().await;
        let error = assert_ready!(rejecter.poll()).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert!(!error.message().contains("0.1"));
        drop(hanging);
    }
}

#[tokio::test]
async fn l33_a_rejected_token_is_served_until_the_backoff_is_over_or_the_secret_changes() {
    let (cache, control) = cache();
    let t1 = control.fill(&cache, "t1").await;
    let rejecter = tokio::spawn(cache.reject(&t1));
    control.asked().await.answer(Err(down()));
    rejecter.await.unwrap().unwrap_err();
    assert_eq!(cache.status().phase, Phase::Backoff);
    let waits = cache.status().counts.waits;
    for _ in 0..1000 {
        let mut other = task::spawn(cache.token());
        assert_eq!(assert_ready!(other.poll()).unwrap().expose_secret(), "t1");
    }
    assert_eq!(cache.status().counts.waits, waits);
    // A changed secret is noticed at once all the same.
    control.change_secret();
    let mut other = task::spawn(cache.token());
    drop(other.poll());
    control.asked().await.token("t2");
    settle().await;
    assert_eq!(cache.token().await.unwrap().expose_secret(), "t2");
}

#[tokio::test]
async fn l34_keep_warm_does_not_look_before_a_refresh_may_begin() {
    let looks: Arc<AtomicUsize> = Arc::default();
    let counted = looks.clone();
    let epoch = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        0
    };
    let (cache, _, clock) = quick(epoch, 0.0);
    cache.keep_warm();
    settle().await;
    // Every token is rejected, until the limiter says wait.
    for _ in 0..6 {
        if let Some(token) = cache.peek() {
            drop(cache.reject(&token).await);
        }
    }
    assert!(cache.status().rejected);
    settle().await;
    looks.store(0, Ordering::SeqCst);
    for _ in 0..190 {
        clock.advance(Duration::from_millis(100));
        settle().await;
    }
    let looks = looks.load(Ordering::SeqCst);
    assert!(looks <= 3, "{looks} looks in 19 s");
}

#[tokio::test]
async fn l35_a_request_for_more_time_than_there_is_is_sent_after_one_refresh() {
    let clock = ManualClock::new();
    let fetches: Arc<AtomicUsize> = Arc::default();
    let (counted, time) = (fetches.clone(), clock.clone());
    // A token of 10 s, and a fetch of 5.
    let source = source_fn(move |_| {
        let nth = counted.fetch_add(1, Ordering::SeqCst);
        let takes = tower_bearer::clock::Clock::sleep(&time, Duration::from_secs(5));
        async move {
            takes.await;
            Ok(Token::new(format!("t{nth}"))?.expires_in(Duration::from_secs(10)))
        }
    });
    let cache = TokenCache::builder(source).clock(clock.clone()).build();
    let inner = service_fn(async |_: Request<ReplayBody<Empty<Bytes>>>| {
        Ok::<_, Infallible>(Response::new(()))
    });
    let layer = BearerAuthLayer::new(cache.clone());
    let service = layer.allow("https://api.example").unwrap().layer(inner);
    let mut waited = 0;
    for _ in 0..100 {
        let mut request = Request::get("https://api.example/")
            .body(Empty::new())
            .unwrap();
        let options = RequestOptions::new().min_remaining(Duration::from_secs(9));
        request.extensions_mut().insert(options);
        let sent = tokio::spawn(service.clone().oneshot(request));
        let mut secs = 0;
        loop {
            settle().await;
            if sent.is_finished() {
                break;
            }
            clock.advance(Duration::from_secs(1));
            secs += 1;
            assert!(secs <= 10, "it is never sent");
        }
        waited += secs;
        sent.await.unwrap().unwrap();
        clock.advance(Duration::from_secs(1));
    }
    // Two fetches per lifetime of ten seconds.
    let fetches = fetches.load(Ordering::SeqCst);
    assert!(fetches <= (waited + 100) / 5 + 1, "{fetches} in {waited} s");
}

/// Where a log that sees everything panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum LogPanics {
    NewSpan,
    Enter,
    Exit,
    Event,
    Enabled,
}

impl tracing::Subscriber for LogPanics {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        assert!(*self != Self::Enabled, "a bug in the log");
        true
    }

    fn register_callsite(
        &self,
        _: &'static tracing::Metadata<'static>,
    ) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        assert!(*self != Self::NewSpan, "a bug in the log");
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        assert!(*self != Self::Event, "a bug in the log");
    }

    fn enter(&self, _: &tracing::span::Id) {
        assert!(*self != Self::Enter, "a bug in the log");
    }

    fn exit(&self, _: &tracing::span::Id) {
        assert!(*self != Self::Exit, "a bug in the log");
    }
}

#[tokio::test]
async fn l28_a_log_that_panics_anywhere_fails_a_refresh_at_most_and_harms_no_caller() {
    for at in [
        LogPanics::NewSpan,
        LogPanics::Enter,
        LogPanics::Exit,
        LogPanics::Event,
        LogPanics::Enabled,
    ] {
        let log = tracing::subscriber::set_default(at);
        let fetches: Arc<AtomicUsize> = Arc::default();
        let counted = fetches.clone();
        let source = source_fn(move |_| {
            let nth = counted.fetch_add(1, Ordering::SeqCst);
            assert!(nth > 0, "the first fetch panics, while the log does");
            async move { Ok(token(&format!("t{nth}"))) }
        });
        let clock = ManualClock::new();
        let cache = TokenCache::builder(source).clock(clock.clone()).build();
        let callers: Vec<_> = (0..5).map(|_| tokio::spawn(cache.token())).collect();
        for caller in callers {
            let error = caller.await.unwrap().unwrap_err();
            assert_eq!(*error.kind(), Kind::Panicked, "{at:?}");
        }
        assert_eq!(cache.status().phase, Phase::Backoff, "{at:?}");
        assert!(fetches.load(Ordering::SeqCst) <= 1, "{at:?}");
        clock.advance(Duration::from_secs(60));
        drop(log);
        while cache.token().await.is_err() {
            clock.advance(Duration::from_secs(60));
        }
        // Who has a usable token is served it, and a rejection is none of the caller's business either.
        let _log = tracing::subscriber::set_default(at);
        clock.advance(Duration::from_secs(2975));
        let due = cache.token().await.unwrap();
        settle().await;
        drop(cache.reject(&due));
        settle().await;
        drop(cache.status());
    }
}
