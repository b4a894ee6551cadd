//! How often the source may be called: the backoff after a failure, and the limiter for refreshes on
//! rejection. Pure arithmetic; chance comes in as a number.

use std::time::Duration;

use crate::clock::Reading;

/// The longest wait that a `Retry-After` can ask for.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// The wait between two attempts of one refresh: the first and the longest.
const ATTEMPT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// The wait after a failed refresh: the first and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The wait after invalid credentials: the first and the longest.
const INVALID_CREDENTIALS: (Duration, Duration) =
    (Duration::from_secs(10), Duration::from_secs(5 * 60));

/// How many refreshes rejections may cause.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// So many at once.
    pub(crate) burst: u32,
    /// Then one in this time, which doubles while refreshes do not help.
    pub(crate) interval: Duration,
    /// The time does not grow beyond this.
    pub(crate) longest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            burst: 2,
            interval: Duration::from_secs(5),
            longest: Duration::from_secs(5 * 60),
        }
    }
}

/// Returns the wait before attempt `attempt + 1` of a refresh: full jitter, `chance` in `0.0..1.0`.
pub(crate) fn attempt_delay(attempt: u32, chance: f64) -> Duration {
    doubled(ATTEMPT, attempt).mul_f64(chance)
}

/// Returns the wait after the `failures`th failed refresh in a row.
///
/// It is random, between half of the backoff and all of it; the lower end bounds the number of calls. After
/// invalid credentials it is longer and not random.
///
/// `left` is the time for which the current token is still usable: the next try comes no later than a
/// third of it, so that the last ones are close together. What the endpoint asks for wins.
pub(crate) fn backoff(
    failures: u32,
    invalid_credentials: bool,
    left: Option<Duration>,
    retry_after: Option<Duration>,
    chance: f64,
) -> Duration {
    let backoff = if invalid_credentials {
        doubled(INVALID_CREDENTIALS, failures)
    } else {
        let most = doubled(BACKOFF, failures);
        let jittered = most / 2 + (most / 2).mul_f64(chance);
        match left {
            Some(left) => jittered.min((left / 3).max(BACKOFF.0)),
            None => jittered,
        }
    };
    backoff.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

/// Returns how long to wait after a refresh that brought the current token again, which is usable for
/// `left`: half of that, so that a source which hands out another only shortly before the end costs a
/// handful of calls (L09).
pub(crate) fn until_another(left: Duration) -> Duration {
    (left / 2).max(BACKOFF.0)
}

/// Returns the first doubled `count - 1` times, up to the longest.
pub(super) fn doubled((first, longest): (Duration, Duration), count: u32) -> Duration {
    let factor = 1u32
        .checked_shl(count.saturating_sub(1))
        .unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

/// A token bucket for refreshes on rejection (G35).
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: Limits,
    /// How many refreshes may begin now. What was taken on credit is below zero.
    level: i64,
    /// When the bucket began to fill by one more; `None` while it is full.
    filling_since: Option<Reading>,
    /// Refreshes in a row whose token was rejected as well.
    in_vain: u32,
}

impl Limiter {
    /// A full bucket.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            level: limits.burst.into(),
            filling_since: None,
            in_vain: 0,
        }
    }

    /// A bucket whose burst is used up. It begins to fill when it is first asked.
    pub(crate) fn empty(limits: Limits) -> Self {
        Self {
            level: 0,
            ..Self::new(limits)
        }
    }

    /// Takes one refresh out of the bucket, or returns how long until there is one.
    pub(crate) fn take(&mut self, now: Reading) -> Result<(), Duration> {
        let interval = self.interval();
        let burst = i64::from(self.limits.burst);
        if self.level < burst {
            self.filling_since.get_or_insert(now);
        }
        while let Some(since) = self.filling_since {
            if now.since(since) < interval {
                break;
            }
            self.level += 1;
            self.filling_since = (self.level < burst).then_some(since + interval);
        }
        if self.level <= 0 {
            return Err(self.ready_at().map_or(interval, |at| now.until(at)));
        }
        self.level -= 1;
        self.filling_since.get_or_insert(now);
        Ok(())
    }

    /// Returns when there is a refresh in the bucket again, if there is none now.
    pub(crate) fn ready_at(&self) -> Option<Reading> {
        let missing = u32::try_from(1 - self.level).ok().filter(|&it| it > 0)?;
        let since = self.filling_since?;
        Some(since + self.interval().saturating_mul(missing))
    }

    /// Counts a refresh that another bucket gave.
    pub(crate) fn charge(&mut self, now: Reading) {
        self.level -= 1;
        self.filling_since.get_or_insert(now);
    }

    /// Notes whether the token of a refresh was better than the rejected one: once for each refresh.
    pub(crate) fn judge(&mut self, is_better: bool) {
        self.in_vain = match is_better {
            true => 0,
            false => self.in_vain.saturating_add(1),
        };
    }

    /// Whether refreshes do not help at present, so that nobody should wait for one.
    pub(crate) fn is_futile(&self) -> bool {
        self.in_vain > 0
    }

    /// Refreshes in a row that did not help.
    pub(crate) fn in_vain(&self) -> u32 {
        self.in_vain
    }

    /// Counts at least so many refreshes that did not help.
    pub(crate) fn at_least_in_vain(&mut self, count: u32) {
        self.in_vain = self.in_vain.max(count);
    }

    fn interval(&self) -> Duration {
        let range = (self.limits.interval, self.limits.longest);
        doubled(range, self.in_vain.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(secs: u64) -> Reading {
        Reading::new(Duration::from_secs(secs), UNIX_EPOCH)
    }

    #[test]
    fn backoff_doubles_and_stays_under_its_longest() {
        let most = |failures| backoff(failures, false, None, None, 1.0).as_secs();
        assert_eq!([1, 2, 3, 7, 8, u32::MAX].map(most), [1, 2, 4, 60, 60, 60]);
        let invalid = |failures| backoff(failures, true, None, None, 0.0).as_secs();
        assert_eq!(
            [1, 2, 5, 6, 7, u32::MAX].map(invalid),
            [10, 20, 160, 300, 300, 300]
        );
    }

    #[test]
    fn e11_the_wait_is_never_shorter_than_half_the_backoff() {
        let least = |failures| backoff(failures, false, None, None, 0.0).as_millis();
        assert_eq!(
            [1, 2, 3, 7, 8].map(least),
            [500, 1000, 2000, 30_000, 30_000]
        );
    }

    #[test]
    fn backoff_leaves_room_for_tries_while_the_token_is_usable() {
        let left = |left| backoff(9, false, Some(Duration::from_secs(left)), None, 1.0).as_secs();
        assert_eq!([600, 90, 9, 1, 0].map(left), [60, 30, 3, 1, 1]);
    }

    #[test]
    fn retry_after_wins_up_to_its_cap() {
        let asked = |secs| {
            let left = Some(Duration::from_secs(3));
            backoff(1, false, left, Some(Duration::from_secs(secs)), 1.0).as_secs()
        };
        assert_eq!([0, 120, 300, 86_400].map(asked), [1, 120, 300, 300]);
    }

    #[test]
    fn the_limiter_takes_two_at_once_then_one_per_interval() {
        let mut limiter = Limiter::new(Limits::default());
        assert_eq!(limiter.take(at(0)), Ok(()));
        assert_eq!(limiter.take(at(0)), Ok(()));
        assert_eq!(limiter.take(at(1)), Err(Duration::from_secs(4)));
        assert_eq!(limiter.take(at(5)), Ok(()));
        assert_eq!(limiter.take(at(9)), Err(Duration::from_secs(1)));
        // A long rest fills it, and not beyond its size.
        assert_eq!(limiter.take(at(1000)), Ok(()));
        assert_eq!(limiter.take(at(1000)), Ok(()));
        assert!(limiter.take(at(1000)).is_err());
    }

    #[test]
    fn refreshes_in_vain_come_ever_more_rarely() {
        let mut limiter = Limiter::new(Limits::default());
        assert!(
            limiter
                .take(at(0))
                .and_then(|()| limiter.take(at(0)))
                .is_ok()
        );
        assert!(!limiter.is_futile());
        limiter.judge(false);
        assert!(limiter.is_futile());
        assert_eq!(limiter.take(at(5)), Err(Duration::from_secs(5)));
        for _ in 0..20 {
            limiter.judge(false);
        }
        assert_eq!(limiter.take(at(10)), Err(Duration::from_secs(290)));
        limiter.judge(true);
        assert!(!limiter.is_futile());
        assert_eq!(limiter.take(at(10)), Ok(()));
    }
}
