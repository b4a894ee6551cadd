//! A source that answers when the test tells it to, and a cache on a clock that the test moves.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Mutex, mpsc, oneshot};
use tower_bearer::{
    Builder, FetchContext, SourceError, Token, TokenCache, TokenSource, clock::ManualClock,
};

pub(crate) type Answer = Result<Token, SourceError>;

/// The source's side.
pub(crate) struct Scripted {
    fetches: mpsc::UnboundedSender<Fetching>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    calls: AtomicUsize,
    epoch: AtomicU64,
}

/// A fetch that waits for its answer. Dropping it makes the source hang.
pub(crate) struct Fetching {
    pub(crate) cx: FetchContext,
    answer: oneshot::Sender<Answer>,
}

/// The test's side.
#[derive(Clone)]
pub(crate) struct Control {
    fetches: Arc<Mutex<mpsc::UnboundedReceiver<Fetching>>>,
    shared: Arc<Shared>,
    pub(crate) clock: ManualClock,
}

impl TokenSource for Scripted {
    fn fetch(&self, cx: &FetchContext) -> impl Future<Output = Answer> + Send {
        self.shared.calls.fetch_add(1, Ordering::SeqCst);
        let (answer, answered) = oneshot::channel();
        self.fetches
            .send(Fetching {
                cx: cx.clone(),
                answer,
            })
            .expect("the test holds its side");
        async move {
            match answered.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            }
        }
    }

    fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::SeqCst)
    }
}

impl Fetching {
    pub(crate) fn answer(self, answer: Answer) {
        // The refresh may have given up waiting, which is what some tests are about.
        let _gone = self.answer.send(answer);
    }

    /// Whether anybody still waits for the answer.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }

    pub(crate) fn token(self, secret: &str) {
        self.answer(Ok(token(secret)));
    }
}

impl Control {
    /// Waits until the source is asked.
    pub(crate) async fn asked(&self) -> Fetching {
        // A call that takes longer never comes: the test fails here, by its name.
        let mut fetches = self.fetches.lock().await;
        let asked = tokio::time::timeout(Duration::from_secs(20), fetches.recv());
        asked
            .await
            .expect("the source is asked")
            .expect("the source lives")
    }

    /// The fetch that waits for its answer, if there is one.
    pub(crate) fn asked_by_now(&self) -> Option<Fetching> {
        self.fetches.try_lock().ok()?.try_recv().ok()
    }

    pub(crate) fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn change_secret(&self) {
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn advance(&self, secs: f64) {
        self.clock.advance(Duration::from_secs_f64(secs));
    }

    /// Lets `cache` fetch a token with this secret.
    pub(crate) async fn fill(&self, cache: &TokenCache, secret: &str) -> Token {
        let waiting = tokio::spawn(cache.token());
        self.asked().await.token(secret);
        waiting.await.unwrap().unwrap()
    }

    /// Answers every fetch from now on with another token: `t1`, `t2` …
    pub(crate) fn answer_all(&self) {
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                let secret = this.calls_after_next().await;
                secret.1.token(&format!("t{}", secret.0));
            }
        });
    }

    async fn calls_after_next(&self) -> (usize, Fetching) {
        let fetching = self.asked().await;
        (self.calls(), fetching)
    }
}

/// A token that lives for an hour.
pub(crate) fn token(secret: &str) -> Token {
    Token::new(secret)
        .unwrap()
        .expires_in(Duration::from_secs(3600))
}

pub(crate) fn scripted() -> (Builder<Scripted>, Control) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared::default());
    let clock = ManualClock::new();
    let control = Control {
        fetches: Arc::new(Mutex::new(receiver)),
        shared: shared.clone(),
        clock: clock.clone(),
    };
    let source = Scripted {
        fetches: sender,
        shared,
    };
    (TokenCache::builder(source).clock(clock).seed(7), control)
}

pub(crate) fn cache() -> (TokenCache, Control) {
    let (builder, control) = scripted();
    (builder.build(), control)
}

/// Lets all other tasks run as far as they can.
pub(crate) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}
