//! Random interleavings of everything that can happen, against a model that is simple enough to be right.
//!
//! `PROPTEST_CASES` says how many; a failure prints a case that is as short as could be found.

use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;
use tokio_test::task::{self, Spawn};
use tower_bearer::{Acquire, Error, SourceError, Token, TokenCache};

use crate::support::{Control, Fetching, scripted, settle};

#[derive(Clone, Debug)]
enum Step {
    /// Somebody wants a token.
    Want,
    /// Somebody saw the token of one of the last generations rejected.
    Reject(u8),
    /// Somebody wants a new one.
    Refresh,
    /// A caller leaves.
    Leave(u8),
    /// The source answers with a token of so many seconds.
    Answer(u16),
    /// It answers with the token of the last time.
    AnswerSame,
    /// It fails in a way that may pass.
    Fail,
    /// It answers that the credentials are invalid.
    Refuse,
    /// So many tenths of a second pass.
    Pass(u16),
    /// The machine sleeps for so many seconds.
    Sleep(u16),
    /// The wall clock is set back by so many seconds.
    SetBack(u16),
    ChangeSecret,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Want),
        3 => any::<u8>().prop_map(Step::Reject),
        1 => Just(Step::Refresh),
        2 => any::<u8>().prop_map(Step::Leave),
        8 => (0..600_u16).prop_map(Step::Answer),
        1 => Just(Step::AnswerSame),
        2 => Just(Step::Fail),
        1 => Just(Step::Refuse),
        6 => (1..700_u16).prop_map(Step::Pass),
        1 => (1..2000_u16).prop_map(Step::Sleep),
        1 => (1..2000_u16).prop_map(Step::SetBack),
        1 => Just(Step::ChangeSecret),
    ]
}

/// What the model knows of a token.
#[derive(Clone, Copy, Debug)]
struct Issued {
    /// When it ends, on either clock.
    monotonic: Duration,
    wall: i128,
    epoch: u64,
}

struct World {
    cache: TokenCache,
    control: Control,
    monotonic: Duration,
    wall: i128,
    epoch: u64,
    /// Fetches that were not answered yet, with the time on both clocks and the epoch at which they came.
    open: Vec<(Fetching, Duration, i128, u64)>,
    issued: HashMap<String, Issued>,
    secrets: u64,
    /// Those who wait, with the generation that they must not get.
    waiting: Vec<(Spawn<Acquire>, Option<u64>)>,
    generation: u64,
    last: Option<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let (builder, control) = scripted();
        Self {
            cache: builder.seed(seed).attempts(2).build(),
            control,
            monotonic: Duration::ZERO,
            wall: 0,
            epoch: 0,
            open: Vec::new(),
            issued: HashMap::new(),
            secrets: 0,
            waiting: Vec::new(),
            generation: 0,
            last: None,
        }
    }

    async fn play(&mut self, step: &Step) {
        match *step {
            Step::Want => self.wait_for(self.cache.token(), None),
            Step::Refresh => self.wait_for(self.cache.refresh(), None),
            Step::Reject(back) => {
                // The layer knows the token that it sent, and so does this.
                let Some(current) = self.cache.peek() else {
                    return;
                };
                if back % 4 == 0 {
                    let again = self.cache.reject(&current);
                    self.wait_for(again, Some(current.generation()));
                } else {
                    drop(self.cache.reject(&current));
                }
            }
            Step::Leave(which) => {
                if !self.waiting.is_empty() {
                    let which = usize::from(which) % self.waiting.len();
                    drop(self.waiting.swap_remove(which));
                }
            }
            Step::Answer(secs) => {
                self.secrets += 1;
                self.answer(format!("t{}", self.secrets), secs);
            }
            Step::AnswerSame => {
                if let Some(last) = self.last.clone() {
                    self.answer(last, 100);
                }
            }
            Step::Fail => self.fail(SourceError::transient("down")),
            Step::Refuse => self.fail(SourceError::invalid_credentials("no")),
            Step::Pass(tenths) => {
                let by = Duration::from_millis(u64::from(tenths) * 100);
                self.monotonic += by;
                self.wall += by.as_nanos() as i128;
                self.control.clock.advance(by);
            }
            Step::Sleep(secs) => {
                let by = Duration::from_secs(secs.into());
                self.wall += by.as_nanos() as i128;
                self.control.clock.suspend(by);
            }
            Step::SetBack(secs) => {
                let by = Duration::from_secs(secs.into());
                self.wall -= by.as_nanos() as i128;
                let start = std::time::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
                let wall = match u64::try_from(self.wall.abs()) {
                    Ok(nanos) if self.wall < 0 => start - Duration::from_nanos(nanos),
                    Ok(nanos) => start + Duration::from_nanos(nanos),
                    Err(_) => start,
                };
                self.control.clock.set_wall(wall);
            }
            Step::ChangeSecret => {
                self.epoch += 1;
                self.control.change_secret();
            }
        }
        self.look().await;
    }

    fn wait_for(&mut self, acquire: Acquire, avoid: Option<u64>) {
        self.waiting.push((task::spawn(acquire), avoid));
    }

    fn answer(&mut self, secret: String, secs: u16) {
        let Some((fetching, monotonic, wall, epoch)) = self.open.pop() else {
            return;
        };
        let lifetime = Duration::from_secs(secs.into());
        // The same token may fail to replace itself, or be prolonged, so the later end counts.
        let before = self.issued.get(&secret).copied();
        let monotonic = monotonic + lifetime;
        let wall = wall + lifetime.as_nanos() as i128;
        let issued = Issued {
            monotonic: before.map_or(monotonic, |it| it.monotonic.max(monotonic)),
            wall: before.map_or(wall, |it| it.wall.max(wall)),
            epoch,
        };
        self.issued.insert(secret.clone(), issued);
        self.last = Some(secret.clone());
        fetching.answer(Ok(Token::new(secret).unwrap().expires_in(lifetime)));
    }

    fn fail(&mut self, error: SourceError) {
        if let Some((fetching, ..)) = self.open.pop() {
            fetching.answer(Err(error));
        }
    }

    /// Lets all callers go on, and checks the invariants.
    async fn look(&mut self) {
        for _ in 0..3 {
            settle_briefly().await;
            self.waiting = std::mem::take(&mut self.waiting)
                .into_iter()
                .filter_map(|(mut caller, avoid)| match caller.poll() {
                    std::task::Poll::Pending => Some((caller, avoid)),
                    std::task::Poll::Ready(got) => {
                        self.check_handed_out(&got, avoid);
                        None
                    }
                })
                .collect();
        }
        while let Some(fetching) = self.control.asked_by_now() {
            self.open
                .push((fetching, self.monotonic, self.wall, self.epoch));
        }
        self.open.retain(|(fetching, ..)| fetching.is_awaited());
        assert!(self.open.len() <= 1, "{} fetches at once", self.open.len());

        let status = self.cache.status();
        let generation = status.generation.unwrap_or_default();
        assert!(
            generation >= self.generation,
            "an older token replaced a newer one"
        );
        self.generation = generation;
        if let Some(token) = self.cache.peek() {
            self.check_handed_out(&Ok(token), None);
        }
    }

    fn check_handed_out(&self, got: &Result<Token, Error>, avoid: Option<u64>) {
        let Ok(token) = got else {
            return;
        };
        let issued = self.issued[token.expose_secret()];
        assert!(
            self.monotonic < issued.monotonic,
            "{token:?} has expired: {issued:?}"
        );
        assert!(
            self.wall < issued.wall,
            "{token:?} has expired by the wall clock: {issued:?}"
        );
        assert!(issued.epoch <= self.epoch);
        assert_ne!(
            Some(token.generation()),
            avoid,
            "the rejected token was handed out again"
        );
    }

    /// Checks that in the end all who wait get an answer, and that nothing is left.
    async fn end(mut self) {
        for _ in 0..200 {
            if self.waiting.is_empty() {
                break;
            }
            self.play(&Step::Answer(500)).await;
            self.play(&Step::Pass(5)).await;
        }
        assert!(self.waiting.is_empty(), "somebody waits for ever");
        drop(self.cache);
        settle().await;
        assert_eq!(self.control.clock.sleepers(), 0, "a timer is left");
    }
}

async fn settle_briefly() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_in_every_order(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(seed);
            for step in &steps {
                world.play(step).await;
            }
            world.end().await;
        });
    }
}
