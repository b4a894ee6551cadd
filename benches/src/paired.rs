//! Times several stacks in alternation, so that what disturbs one disturbs all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::{stats, workload::Runner};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds; each gives one value per stack, and the ratios are those of one round.
    pub rounds: usize,
    /// Lots of each stack in a round, in alternation. The one in the middle counts, so that a lot during
    /// which the machine did something else does not.
    pub lots: usize,
    /// How long a lot takes.
    pub lot: Duration,
}

/// A stack, as often as there are threads.
pub struct Stack {
    pub name: &'static str,
    pub runners: Vec<Runner>,
}

/// The times of one stack: nanoseconds per request, one value a round.
pub type Times = Vec<f64>;

/// Times all stacks on as many threads as each has runners. All must have the same number.
pub fn time(stacks: Vec<Stack>, effort: Effort) -> Vec<Times> {
    let count = stacks.len();
    let threads = stacks.first().map_or(0, |stack| stack.runners.len());
    let mut by_thread: Vec<Vec<Runner>> = (0..threads).map(|_| Vec::new()).collect();
    for stack in stacks {
        assert_eq!(stack.runners.len(), threads, "{}", stack.name);
        for (runners, runner) in by_thread.iter_mut().zip(stack.runners) {
            runners.push(runner);
        }
    }
    let workers = Workers::start(by_thread);
    let lots: Vec<u64> = (0..count)
        .map(|stack| workers.requests_in(stack, effort.lot))
        .collect();
    let mut times = vec![Times::new(); count];
    for round in 0..effort.rounds {
        let mut seen = vec![Vec::new(); count];
        for lot in 0..effort.lots {
            // Each stack comes first, and after each other one, equally often.
            for place in 0..count {
                let place = match lot % 2 {
                    0 => place,
                    _ => count - 1 - place,
                };
                let stack = (place + round) % count;
                seen[stack].push(workers.run(stack, lots[stack]));
            }
        }
        for (times, seen) in times.iter_mut().zip(seen) {
            times.push(stats::middle(&seen));
        }
    }
    times
}

/// The ratios of two stacks, round by round.
pub fn ratios(over: &[f64], under: &[f64]) -> Vec<f64> {
    over.iter()
        .zip(under)
        .map(|(over, under)| over / under)
        .collect()
}

/// What a stack costs beyond another, round by round.
pub fn net(with: &[f64], without: &[f64]) -> Vec<f64> {
    with.iter()
        .zip(without)
        .map(|(with, without)| with - without)
        .collect()
}

/// Keeps a thread on a processor of its own, if the machine has enough of them.
fn pin(place: usize) {
    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    if let Some(cpu) = allowed.nth(place) {
        let mut own = CpuSet::new();
        own.set(cpu);
        let _ = sched_setaffinity(None, &own);
    }
}

/// One thread for each runner of a stack; they live as long as the measurement, as a server's do.
struct Workers {
    orders: Vec<Sender<Order>>,
    done: Receiver<(Instant, Duration)>,
}

/// How often a lot is timed anew whose threads did not run side by side.
const TRIES: usize = 8;

struct Order {
    stack: usize,
    requests: u64,
    start: Arc<AtomicU64>,
}

impl Workers {
    fn start(by_thread: Vec<Vec<Runner>>) -> Self {
        let threads = by_thread.len() as u64;
        let (report, done) = channel();
        let orders = by_thread
            .into_iter()
            .enumerate()
            .map(|(place, mut runners)| {
                let (send, orders) = channel::<Order>();
                let report = report.clone();
                thread::spawn(move || {
                    pin(place);
                    for order in orders {
                        // All begin at once: who is there first spins.
                        order.start.fetch_add(1, SeqCst);
                        while order.start.load(SeqCst) < threads {
                            std::hint::spin_loop();
                        }
                        let began = Instant::now();
                        runners[order.stack](order.requests);
                        let _ = report.send((began, began.elapsed()));
                    }
                });
                send
            })
            .collect();
        Self { orders, done }
    }

    /// Nanoseconds per request, the mean of the threads.
    fn run(&self, stack: usize, requests: u64) -> f64 {
        let mut took = Duration::ZERO;
        for _ in 0..TRIES {
            let (lot, together) = self.lot(stack, requests);
            took = lot;
            if together {
                break;
            }
        }
        took.as_nanos() as f64 / requests as f64
    }

    /// The mean time of the threads, and whether they ran side by side. On a machine that does other things
    /// too, one thread may get its processor only when the other has ended, and then nothing was shared.
    fn lot(&self, stack: usize, requests: u64) -> (Duration, bool) {
        let start = Arc::new(AtomicU64::new(0));
        for orders in &self.orders {
            let order = Order {
                stack,
                requests,
                start: start.clone(),
            };
            orders.send(order).expect("a worker ended");
        }
        let seen: Vec<(Instant, Duration)> = (0..self.orders.len())
            .map(|_| self.done.recv().expect("a worker ended"))
            .collect();
        let first = seen.iter().map(|(began, _)| *began).min();
        let last = seen.iter().map(|(began, _)| *began).max();
        let apart = first.zip(last).map_or(Duration::ZERO, |(a, b)| b - a);
        let total: Duration = seen.iter().map(|(_, took)| *took).sum();
        let mean = total / seen.len() as u32;
        (mean, apart < mean / 20)
    }

    /// How many requests fill a lot. It warms up what is measured too.
    fn requests_in(&self, stack: usize, lot: Duration) -> u64 {
        self.run(stack, 2_000);
        let each = self.run(stack, 2_000).max(1.0);
        ((lot.as_nanos() as f64 / each) as u64).max(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spinning(turns: u64) -> Runner {
        Box::new(move |requests| {
            for turn in 0..requests * turns {
                std::hint::black_box(turn);
            }
        })
    }

    #[test]
    fn what_does_twice_as_much_takes_twice_as_long() {
        let effort = Effort {
            rounds: 31,
            lots: 5,
            lot: Duration::from_micros(200),
        };
        let stacks = vec![
            Stack {
                name: "one",
                runners: vec![spinning(100)],
            },
            Stack {
                name: "two",
                runners: vec![spinning(200)],
            },
        ];
        let times = time(stacks, effort);
        let ratio = stats::median(&ratios(&times[1], &times[0])).value;
        assert!((1.6..2.4).contains(&ratio), "{ratio}");
    }
}
