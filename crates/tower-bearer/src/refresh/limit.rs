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

/// The limiter allows this many refreshes at once, then one per interval. The interval doubles, from the
/// first to the longest, while refreshes do not help.
const BURST: u32 = 2;
const INTERVAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5 * 60));

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

/// Returns the first doubled `count - 1` times, up to the longest.
fn doubled((first, longest): (Duration, Duration), count: u32) -> Duration {
    let factor = 1u32
        .checked_shl(count.saturating_sub(1))
        .unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

/// A token bucket for refreshes on rejection (G35).
#[derive(Debug)]
pub(crate) struct Limiter {
    /// How many refreshes may begin now.
    level: u32,
    /// When the bucket began to fill by one more; `None` while it is full.
    filling_since: Option<Reading>,
    /// Refreshes in a row whose token was rejected as well.
    in_vain: u32,
}

impl Limiter {
    pub(crate) fn new() -> Self {
        Self {
            level: BURST,
            filling_since: None,
            in_vain: 0,
        }
    }

    /// Takes one refresh out of the bucket, or returns how long until there is one.
    pub(crate) fn take(&mut self, now: Reading) -> Result<(), Duration> {
        let interval = self.interval();
        while let Some(since) = self.filling_since {
            let passed = now.since(since);
            if passed < interval {
                break;
            }
            self.level += 1;
            self.filling_since = (self.level < BURST).then_some(since + interval);
        }
        if self.level == 0 {
            let since = self
                .filling_since
                .map_or(Duration::ZERO, |since| now.since(since));
            return Err(interval.saturating_sub(since));
        }
        self.level -= 1;
        self.filling_since.get_or_insert(now);
        Ok(())
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

    fn interval(&self) -> Duration {
        doubled(INTERVAL, self.in_vain.saturating_add(1))
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
        let mut limiter = Limiter::new();
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
        let mut limiter = Limiter::new();
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
