//! What operators see.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio_test::{assert_pending, task};
use tower_bearer::{Counts, Outcome, Reason, SourceError, TokenCache};

use crate::support::{Control, cache, scripted, settle};

/// A short story, and the counts that it must move, of which all others must stand still.
async fn moves(story: impl AsyncFn(&TokenCache, &Control), expected: &[(&str, u64)]) {
    let (cache, control) = cache();
    control.fill(&cache, "t1").await;
    let before = named(&cache.status().counts);
    story(&cache, &control).await;
    let after = named(&cache.status().counts);
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        let expected = expected
            .iter()
            .find(|(it, _)| it == name)
            .map_or(0, |(_, by)| *by);
        assert_eq!(after - before, expected, "{name}");
    }
}

fn named(counts: &Counts) -> Vec<(&'static str, u64)> {
    let mut all = vec![
        ("fetches", counts.fetches),
        ("failed_refreshes", counts.failed_refreshes),
        ("unknown_lifetimes", counts.unknown_lifetimes),
        ("served_due", counts.served_due),
        ("rejections", counts.rejections),
        ("retries", counts.retries),
        ("replays_refused", counts.replays_refused),
        ("waits", counts.waits),
    ];
    for reason in [
        Reason::Initial,
        Reason::Ahead,
        Reason::Expired,
        Reason::Rejected,
        Reason::Forced,
        Reason::SecretChanged,
    ] {
        all.push((reason.as_str(), counts.refreshes.of(reason)));
    }
    all
}

#[tokio::test]
async fn f14_each_case_moves_exactly_its_counters() {
    moves(async |cache, _| drop(cache.token().await.unwrap()), &[]).await;
    moves(
        async |cache, control| {
            control.advance(2971.0);
            cache.token().await.unwrap();
            control.asked().await.token("t2");
            settle().await;
        },
        &[("served_due", 1), ("fetches", 1), ("ahead", 1)],
    )
    .await;
    moves(
        async |cache, control| {
            control.advance(2971.0);
            cache.token().await.unwrap();
            control
                .asked()
                .await
                .answer(Err(SourceError::transient("down")));
            settle().await;
        },
        &[("served_due", 1), ("fetches", 1), ("failed_refreshes", 1)],
    )
    .await;
    moves(
        async |cache, control| {
            control.advance(3600.0);
            control.fill(cache, "t2").await;
        },
        &[("waits", 1), ("fetches", 1), ("expired", 1)],
    )
    .await;
    moves(
        async |cache, control| {
            let rejected = cache.peek().unwrap();
            let rejecter = tokio::spawn(cache.reject(&rejected));
            control.asked().await.token("t2");
            rejecter.await.unwrap().unwrap();
            cache.reject(&rejected).await.unwrap();
        },
        &[
            ("rejections", 1),
            ("waits", 1),
            ("fetches", 1),
            ("rejected", 1),
        ],
    )
    .await;
    moves(
        async |cache, control| {
            control.advance(1.0);
            let forced = tokio::spawn(cache.refresh());
            control.asked().await.token("t2");
            forced.await.unwrap().unwrap();
        },
        &[("waits", 1), ("fetches", 1), ("forced", 1)],
    )
    .await;
    moves(
        async |cache, control| {
            control.change_secret();
            control.advance(3600.0);
            control.fill(cache, "t2").await;
        },
        &[("waits", 1), ("fetches", 1), ("secret_changed", 1)],
    )
    .await;
}

#[tokio::test]
async fn a_subscription_delivers_each_outcome_with_its_reason() {
    let (cache, control) = cache();
    let mut events = cache.subscribe();
    control.fill(&cache, "t1").await;
    let event = events.next().await.unwrap();
    assert_eq!(
        (event.reason, event.outcome.as_str()),
        (Reason::Initial, "refreshed")
    );
    match event.outcome {
        Outcome::Refreshed {
            generation,
            expires_in,
        } => {
            assert_eq!((generation, expires_in), (1, Duration::from_secs(3570)));
        }
        other => panic!("{other:?}"),
    }
    let rejecter = tokio::spawn(cache.reject(&cache.peek().unwrap()));
    let fetching = control.asked().await;
    control.advance(2.0);
    fetching.answer(Err(SourceError::invalid_credentials("no")));
    rejecter.await.unwrap().unwrap_err();
    let event = events.next().await.unwrap();
    assert_eq!(
        (event.reason, event.outcome.as_str()),
        (Reason::Rejected, "failed")
    );
    assert_eq!(event.took, Duration::from_secs(2));
    drop(cache);
    assert!(
        events.next().await.is_none(),
        "it ends with the last handle"
    );
}

#[tokio::test]
async fn f12_a_subscriber_that_sleeps_or_panics_harms_nobody() {
    let (cache, control) = cache();
    let mut sleepy = cache.subscribe();
    let mut panicking = cache.subscribe();
    let panicked = tokio::spawn(async move {
        let event = panicking.next().await;
        panic!("a bug in the subscriber: {event:?}");
    });
    control.fill(&cache, "t1").await;
    assert!(panicked.await.unwrap_err().is_panic());
    for turn in 2..=100 {
        control.advance(3600.0);
        control.fill(&cache, &format!("t{turn}")).await;
    }
    // A hundred events, of which the oldest were dropped.
    let Outcome::Refreshed { generation, .. } = sleepy.next().await.unwrap().outcome else {
        panic!("a token was refreshed");
    };
    assert_eq!((generation, sleepy.missed()), (37, 36));
}

#[tokio::test]
async fn f07_a_soak_with_faults_leaks_nothing() {
    let (cache, control) = cache();
    control.fill(&cache, "t0").await;
    let handle = tokio::runtime::Handle::current();
    let tasks = handle.metrics().num_alive_tasks();
    // A hundred days of a request every ten seconds, and one fetch in a hundred fails.
    for turn in 0..100 * 24 * 360_u32 {
        let mut caller = task::spawn(cache.token());
        if caller.poll().is_pending() {
            assert_pending!(caller.poll());
        }
        drop(caller);
        if cache.status().phase == tower_bearer::Phase::Refreshing {
            settle().await;
            let fetching = control.asked().await;
            if control.calls() % 100 == 0 {
                fetching.answer(Err(SourceError::transient("down")));
            } else {
                fetching.token(&format!("t{turn}"));
            }
            settle().await;
        }
        control.advance(10.0);
    }
    assert_eq!(handle.metrics().num_alive_tasks(), tasks);
    assert_eq!(control.clock.sleepers(), 0);
    // A refresh every 2670 s to 2980 s, and a try more for each that failed.
    let fetches = control.calls();
    assert!((2880..=3270).contains(&fetches), "{fetches}");
}

/// A log that keeps what it gets.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Line>>>);

/// One log event.
#[derive(Clone, Debug)]
struct Line {
    level: tracing::Level,
    fields: BTreeMap<&'static str, String>,
}

impl Line {
    fn says(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }
}

impl Kept {
    /// Returns what has come since the last time about failed refreshes.
    fn failures(&self) -> Vec<Line> {
        let mut lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines.retain(|line| line.says("message").starts_with("token refresh failed"));
        lines
    }
}

impl tracing::field::Visit for Line {
    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

impl tracing::Subscriber for Kept {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line {
            level: *event.metadata().level(),
            fields: BTreeMap::new(),
        };
        event.record(&mut line);
        self.0.lock().unwrap().push(line);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn p05_a_failed_refresh_is_logged_by_what_is_left_to_use() {
    const STILL_USABLE: &str = "token refresh failed; the current token is still usable";
    const NONE_USABLE: &str = "token refresh failed; no usable token";
    let log = Kept::default();
    let _log = tracing::subscriber::set_default(log.clone());
    let (builder, control) = scripted();
    // The token is due at 2970 s at the latest and usable until 3570 s. Near its end is the last third of that.
    let cache = builder.name("ci").build();
    control.fill(&cache, "t1").await;
    assert!(log.failures().is_empty());
    let fail_at = async |secs: f64| {
        control.clock.advance(Duration::from_secs_f64(secs));
        // Whether this caller is served does not matter here.
        drop(task::spawn(cache.token()).poll());
        let error = SourceError::transient("down")
            .with_advice("look at its log")
            .with_source("connection reset");
        control.asked().await.answer(Err(error));
        settle().await;
        let mut lines = log.failures();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    };

    let early = fail_at(2970.0).await;
    assert_eq!(early.level, tracing::Level::DEBUG);
    assert_eq!(early.says("message"), STILL_USABLE);
    assert_eq!(early.says("usable_for_s"), "600");
    assert_eq!((early.says("cache"), early.says("reason")), ("ci", "ahead"));
    // The field has the whole error: what happened, what to do, when the next attempt is, and the cause.
    let error = early.says("error");
    assert!(
        error.starts_with("down: look at its log (next attempt in "),
        "{error}"
    );
    assert!(error.ends_with(": connection reset"), "{error}");
    assert!(cache.has_token());

    let late = fail_at(570.0).await;
    assert_eq!(late.level, tracing::Level::WARN);
    assert_eq!(late.says("message"), STILL_USABLE);
    assert_eq!(late.says("usable_for_s"), "30");

    // Others still use a rejected token, but it does not count as usable.
    let rejected = cache.peek().unwrap();
    control.advance(10.0);
    drop(cache.reject(&rejected));
    control
        .asked()
        .await
        .answer(Err(SourceError::transient("down")));
    settle().await;
    let lines = log.failures();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0].level, tracing::Level::WARN);
    assert_eq!(lines[0].says("message"), NONE_USABLE);

    control.advance(3600.0);
    for _ in 0..2 {
        // Without a token a refresh has three attempts; the third ends it.
        drop(task::spawn(cache.token()).poll());
        control
            .asked()
            .await
            .answer(Err(SourceError::transient("down")));
        settle().await;
        control.advance(1.0);
        settle().await;
    }
    control
        .asked()
        .await
        .answer(Err(SourceError::transient("down")));
    settle().await;
    let lines = log.failures();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0].level, tracing::Level::WARN);
    assert_eq!(lines[0].says("message"), NONE_USABLE);
    assert_eq!(lines[0].says("reason"), "expired");
    assert_eq!(lines[0].says("usable_for_s"), "");
}

#[tokio::test]
async fn p05_has_token_says_what_the_next_request_finds_and_is_ready_what_a_probe_needs() {
    let (cache, control) = cache();
    let both = || (cache.has_token(), cache.is_ready());
    assert_eq!(both(), (false, true), "never asked");
    let t1 = control.fill(&cache, "t1").await;
    assert_eq!(both(), (true, true), "fresh");
    control.advance(2971.0);
    assert_eq!(both(), (true, true), "due");
    drop(cache.reject(&t1));
    assert_eq!(both(), (false, true), "rejected: others still use it");
    let fetching = control.asked().await;
    fetching.answer(Err(SourceError::invalid_credentials("no")));
    settle().await;
    assert_eq!(both(), (false, true), "rejected, and its refresh failed");
    control.advance(599.0);
    assert_eq!(both(), (false, false), "expired, and its refresh failed");
    control.fill(&cache, "t2").await;
    assert_eq!(both(), (true, true), "refreshed");
    control.advance(3570.0);
    assert_eq!(
        both(),
        (false, true),
        "idle for longer than the token lives"
    );
}

/// A log that panics at each event of a level or above.
struct Panicking(tracing::Level);

impl tracing::Subscriber for Panicking {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event()
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        assert!(*event.metadata().level() > self.0, "a bug in the log");
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn f12_a_log_that_panics_leaves_nothing_undone() {
    let _log = tracing::subscriber::set_default(Panicking(tracing::Level::INFO));
    let (cache, control) = cache();
    let mut callers: Vec<_> = (0..3).map(|_| task::spawn(cache.token())).collect();
    for caller in &mut callers {
        assert_pending!(caller.poll());
    }
    // The event that a token was refreshed panics in the refresh's own task.
    control.asked().await.token("t1");
    settle().await;
    assert!(callers.iter().all(|caller| caller.is_woken()));
    let t1 = cache.peek().unwrap();
    // The event that it was rejected panics too, and harms no caller.
    drop(cache.reject(&t1));
    control.asked().await.token("t2");
    settle().await;
    assert_eq!(cache.peek().unwrap().expose_secret(), "t2");
}
