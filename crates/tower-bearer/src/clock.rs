//! Time: two clocks in one reading, and a way to sleep.
//!
//! A token's life is measured on the monotonic and on the wall clock, and ends as soon as either says so.
//! One clock alone is not enough: the monotonic one stands still while a machine is suspended (on Linux),
//! and the wall clock jumps when it is set.
//!
//! ```
//! use std::time::Duration;
//! use tower_bearer::clock::{Clock, ManualClock};
//!
//! let clock = ManualClock::new();
//! let before = clock.now();
//! clock.advance(Duration::from_secs(60));
//! assert_eq!(clock.now(), before + Duration::from_secs(60));
//! ```

use std::{
    fmt,
    future::Future,
    ops::Add,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::runtime::Handle;

use crate::timer;

/// A sleep on a [`Clock`].
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tells a cache the time.
///
/// [`SystemClock`] is the default; [`ManualClock`] and [`TokioClock`] are for tests.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Reads both clocks.
    fn now(&self) -> Reading;

    /// Sleeps for `duration` on the monotonic clock.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// The time on both clocks, in nanoseconds. Arithmetic saturates at the ends of the range (the year 2262
/// on the wall clock).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    monotonic: u64,
    wall: i64,
}

impl Reading {
    /// A reading that no clock reaches.
    pub(crate) const MAX: Self = Self {
        monotonic: u64::MAX,
        wall: i64::MAX,
    };

    /// The reading that [`parts`](Self::parts) was taken from.
    pub(crate) const fn of(monotonic: u64, wall: i64) -> Self {
        Self { monotonic, wall }
    }

    /// Both clocks' nanoseconds.
    pub(crate) const fn parts(self) -> (u64, i64) {
        (self.monotonic, self.wall)
    }

    /// Makes a reading for your own clock, from the time since any fixed point in the past and the time of
    /// day.
    #[must_use]
    pub fn new(monotonic: Duration, wall: SystemTime) -> Self {
        let wall = match wall.duration_since(UNIX_EPOCH) {
            Ok(since) => nanos_i64(since),
            Err(before) => -nanos_i64(before.duration()),
        };
        Self {
            monotonic: nanos_u64(monotonic),
            wall,
        }
    }

    /// Returns whether either clock has reached `deadline`.
    #[inline]
    #[must_use]
    pub fn has_reached(self, deadline: Self) -> bool {
        self.monotonic >= deadline.monotonic || self.wall >= deadline.wall
    }

    /// Returns the time until `deadline`, on the clock that is nearer to it.
    #[must_use]
    pub fn until(self, deadline: Self) -> Duration {
        let monotonic = deadline.monotonic.saturating_sub(self.monotonic);
        let wall = i128::from(deadline.wall) - i128::from(self.wall);
        Duration::from_nanos(monotonic.min(u64::try_from(wall.max(0)).unwrap_or(u64::MAX)))
    }

    /// Returns the wall clock's seconds since 1970.
    #[cfg(feature = "metrics")]
    pub(crate) fn unix_seconds(self) -> f64 {
        self.wall as f64 / 1e9
    }

    /// Returns the time from `earlier` to this reading, on the monotonic clock.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.monotonic.saturating_sub(earlier.monotonic))
    }

    /// Returns the time from this reading's wall clock until `at`, or `None` if `at` is not ahead.
    pub(crate) fn until_wall(self, at: SystemTime) -> Option<Duration> {
        let ahead = i128::from(Self::new(Duration::ZERO, at).wall) - i128::from(self.wall);
        let nanos = u64::try_from(ahead).ok().filter(|&nanos| nanos > 0)?;
        Some(Duration::from_nanos(nanos))
    }
}

impl Add<Duration> for Reading {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self {
            monotonic: self.monotonic.saturating_add(nanos_u64(duration)),
            wall: self.wall.saturating_add(nanos_i64(duration)),
        }
    }
}

fn nanos_u64(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn nanos_i64(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// The machine's clocks.
///
/// Each request reads them, so on Linux they are the coarse ones. Those cost a quarter of the others and
/// lag behind them by one tick of the kernel, 1 to 10 ms. Tokio's paused time does not move them: see
/// [`TokioClock`].
///
/// Its sleeps need no timer of the caller's runtime: the first one starts a thread, `tower-bearer-timer`,
/// which sleeps for all clocks of the process.
#[derive(Clone, Debug)]
pub struct SystemClock {
    #[cfg(not(target_os = "linux"))]
    origin: std::time::Instant,
}

impl SystemClock {
    /// Makes a clock that reads the machine's.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(clippy::disallowed_methods, reason = "this is the clock")
    )]
    #[must_use]
    pub fn new() -> Self {
        Self {
            #[cfg(not(target_os = "linux"))]
            origin: std::time::Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[cfg(target_os = "linux")]
    fn now(&self) -> Reading {
        use rustix::time::{ClockId, Timespec, clock_gettime};
        let nanos = |at: Timespec| {
            let seconds = at.tv_sec.saturating_mul(1_000_000_000);
            seconds.saturating_add(at.tv_nsec)
        };
        Reading {
            // The kernel's monotonic clock begins at 0.
            monotonic: nanos(clock_gettime(ClockId::MonotonicCoarse)).unsigned_abs(),
            wall: nanos(clock_gettime(ClockId::RealtimeCoarse)),
        }
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Reading {
        let monotonic = std::time::Instant::now().saturating_duration_since(self.origin);
        Reading::new(monotonic, SystemTime::now())
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(timer::sleep(duration))
    }
}

/// The machine's wall clock with tokio's monotonic one, which follows tokio's paused time in a test.
///
/// It sleeps on the timer of the runtime that it was made on, whichever runtime a cache is used on.
#[derive(Clone, Debug)]
pub struct TokioClock {
    origin: tokio::time::Instant,
    /// The runtime whose timer it sleeps on; without one it sleeps as [`SystemClock`] does.
    runtime: Option<Handle>,
}

impl TokioClock {
    /// Makes a clock that follows the time of the current runtime, if there is one.
    ///
    /// # Panics
    ///
    /// If the current runtime has no timer, which `enable_time` gives it: it has no time to follow then.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    #[must_use]
    pub fn new() -> Self {
        let runtime = Handle::try_current().ok();
        if runtime.is_some() {
            // tokio's own message says what is missing.
            drop(tokio::time::sleep(Duration::ZERO));
        }
        Self {
            origin: tokio::time::Instant::now(),
            runtime,
        }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Reading {
        let _entered = self.runtime.as_ref().map(Handle::enter);
        let monotonic = tokio::time::Instant::now().saturating_duration_since(self.origin);
        Reading::new(monotonic, SystemTime::now())
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        match &self.runtime {
            Some(runtime) => {
                let _entered = runtime.enter();
                Box::pin(tokio::time::sleep(duration))
            }
            None => Box::pin(timer::sleep(duration)),
        }
    }
}

/// A clock that a test moves by hand. Clones share one time.
///
/// Moving it wakes the sleeps that are over then.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    inner: Arc<Mutex<Manual>>,
}

/// The time that the clones of a [`ManualClock`] share.
#[derive(Debug, Default)]
struct Manual {
    monotonic: Duration,
    /// How far the wall clock is ahead of the monotonic one, in nanoseconds.
    wall_ahead: i128,
    sleepers: Vec<(u64, Duration, Waker)>,
    next_sleeper: u64,
}

impl ManualClock {
    /// Makes a clock that stands at 2030-01-01T00:00:00Z.
    #[must_use]
    pub fn new() -> Self {
        let clock = Self::default();
        clock.set_wall(UNIX_EPOCH + Duration::from_secs(1_893_456_000));
        clock
    }

    /// Moves both clocks by `duration`.
    pub fn advance(&self, duration: Duration) {
        let mut inner = self.lock();
        inner.monotonic = inner.monotonic.saturating_add(duration);
        let now = inner.monotonic;
        let sleepers = std::mem::take(&mut inner.sleepers);
        let (due, rest): (Vec<_>, _) = sleepers.into_iter().partition(|&(_, at, _)| at <= now);
        inner.sleepers = rest;
        drop(inner);
        for (_, _, waker) in due {
            waker.wake();
        }
    }

    /// Moves the wall clock alone by `duration`, as a suspended machine does.
    pub fn suspend(&self, duration: Duration) {
        self.lock().wall_ahead += duration.as_nanos() as i128;
    }

    /// Sets the wall clock, as an administrator or a time daemon does.
    pub fn set_wall(&self, wall: SystemTime) {
        let mut inner = self.lock();
        let wall = match wall.duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        };
        inner.wall_ahead = wall - inner.monotonic.as_nanos() as i128;
    }

    /// Returns how many sleeps wait on this clock.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.lock().sleepers.len()
    }

    fn lock(&self) -> MutexGuard<'_, Manual> {
        // Nothing panics while the lock is held, and the state would be whole even then.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Reading {
        let inner = self.lock();
        let wall = inner.wall_ahead + inner.monotonic.as_nanos() as i128;
        Reading {
            monotonic: nanos_u64(inner.monotonic),
            wall: wall.clamp(i64::MIN.into(), i64::MAX.into()) as i64,
        }
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let mut inner = self.lock();
        let deadline = inner.monotonic.saturating_add(duration);
        inner.next_sleeper += 1;
        Box::pin(ManualSleep {
            clock: self.clone(),
            id: inner.next_sleeper,
            deadline,
        })
    }
}

/// A sleep on a [`ManualClock`].
struct ManualSleep {
    clock: ManualClock,
    id: u64,
    deadline: Duration,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // A waker's clone and drop are foreign code, so they run outside the lock.
        let mut waker = cx.waker().clone();
        let mut inner = self.clock.lock();
        if inner.monotonic >= self.deadline {
            return Poll::Ready(());
        }
        match inner.sleepers.iter_mut().find(|(id, ..)| *id == self.id) {
            Some((_, _, known)) => std::mem::swap(known, &mut waker),
            None => {
                inner.sleepers.push((self.id, self.deadline, waker));
                return Poll::Pending;
            }
        }
        drop(inner);
        drop(waker);
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        let mut inner = self.clock.lock();
        let place = inner.sleepers.iter().position(|(id, ..)| *id == self.id);
        let left = place.map(|place| inner.sleepers.swap_remove(place));
        drop(inner);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_clock_reaches_a_deadline() {
        let clock = ManualClock::new();
        let deadline = clock.now() + Duration::from_secs(10);
        assert!(!clock.now().has_reached(deadline));

        let asleep = ManualClock::new();
        asleep.suspend(Duration::from_secs(10));
        assert!(asleep.now().has_reached(deadline));

        clock.set_wall(UNIX_EPOCH);
        clock.advance(Duration::from_secs(10));
        assert!(clock.now().has_reached(deadline));
    }

    #[test]
    fn c06_readings_at_the_ends_of_the_range_saturate() {
        let ancient = Reading::new(Duration::ZERO, UNIX_EPOCH - Duration::from_secs(1 << 33));
        let last = Reading::new(Duration::MAX, UNIX_EPOCH + Duration::from_secs(1 << 34));
        assert!(ancient.wall < 0);
        assert_eq!(last + Duration::MAX, last);
        assert_eq!(last.until(ancient), Duration::ZERO);
        assert!(ancient.until(last) > Duration::from_secs(1 << 34));
        assert_eq!(ancient + Duration::ZERO, ancient);
    }

    #[tokio::test]
    async fn a_moved_clock_wakes_its_sleepers() {
        let clock = ManualClock::new();
        let mut sleep = tokio_test::task::spawn(clock.sleep(Duration::from_secs(5)));
        tokio_test::assert_pending!(sleep.poll());
        assert_eq!(clock.sleepers(), 1);
        clock.advance(Duration::from_secs(4));
        assert!(!sleep.is_woken());
        clock.advance(Duration::from_secs(1));
        assert!(sleep.is_woken());
        tokio_test::assert_ready!(sleep.poll());
        drop(sleep);
        assert_eq!(clock.sleepers(), 0);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the clock is compared with them")]
    fn the_system_clock_follows_the_machines_clocks() {
        let clock = SystemClock::new();
        let (instant, wall) = (std::time::Instant::now(), SystemTime::now());
        let first = clock.now();
        let tick = Duration::from_millis(50);
        let behind = Reading::new(Duration::ZERO, wall).wall - first.wall;
        assert!(
            behind.unsigned_abs() < tick.as_nanos() as u64,
            "{behind} ns"
        );
        while instant.elapsed() < 2 * tick {
            std::thread::yield_now();
        }
        let gone = clock.now().since(first);
        assert!(gone >= tick && gone <= instant.elapsed() + tick, "{gone:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn tokios_clock_follows_paused_time() {
        let clock = TokioClock::new();
        let before = clock.now();
        clock.sleep(Duration::from_secs(3600)).await;
        assert!(clock.now().since(before) >= Duration::from_secs(3600));
    }
}
