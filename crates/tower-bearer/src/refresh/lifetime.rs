//! When a token is due and until when it is usable: pure arithmetic, no clock, no I/O.
//!
//! ```text
//! sent                                due       window          usable until  expiry
//!  |------------- fresh ---------------|~ jitter ~|------ due -------|- leeway -|
//! ```

use std::time::Duration;

use crate::{clock::Reading, token::Token};

/// The lifetime of a token whose lifetime is not known.
pub(crate) const DEFAULT_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// The longest lifetime: a longer one is cut to this.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// The shortest lifetime. A shorter one would be fetched several times a second.
pub(crate) const MIN_LIFETIME: Duration = Duration::from_secs(1);

/// The longest refresh window, which ends when the token stops being usable.
pub(crate) const MAX_WINDOW: Duration = Duration::from_secs(10 * 60);

/// The longest leeway: the time before expiry in which a token is not used.
pub(crate) const MAX_LEEWAY: Duration = Duration::from_secs(30);

/// The settings of a schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) default_lifetime: Duration,
    pub(crate) max_window: Duration,
    pub(crate) max_leeway: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_lifetime: DEFAULT_LIFETIME,
            max_window: MAX_WINDOW,
            max_leeway: MAX_LEEWAY,
        }
    }
}

/// The instants of one token's life, fixed when it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Half of the lifetime is over. From here on, whoever wants more time than is left gets a new token.
    pub(crate) half: Reading,
    pub(crate) due: Reading,
    pub(crate) usable_until: Reading,
}

impl Schedule {
    /// The schedule of a token whose request was sent at `sent`, with `jitter` in `0.0..1.0`.
    ///
    /// `due` lies past half of the lifetime whatever the policy says, so a token costs at most two
    /// successful fetches per lifetime (G6): the leeway takes at most a tenth, the window at most a
    /// quarter and the jitter half of that.
    pub(crate) fn new(sent: Reading, lifetime: Duration, policy: &Policy, jitter: f64) -> Self {
        let leeway = policy.max_leeway.min(lifetime / 10);
        let window = policy.max_window.min(lifetime / 4);
        let usable = lifetime.saturating_sub(leeway);
        let early = (window / 2).mul_f64(jitter.clamp(0.0, 1.0));
        Self {
            half: sent + lifetime / 2,
            due: sent + usable.saturating_sub(window).saturating_sub(early),
            usable_until: sent + usable,
        }
    }

    /// Whether the token is not yet due, and so not expired either.
    #[inline]
    pub(crate) fn is_fresh(&self, now: Reading) -> bool {
        !now.has_reached(self.due)
    }

    /// Whether the token may not be used any more.
    pub(super) fn is_expired(&self, now: Reading) -> bool {
        now.has_reached(self.usable_until)
    }

    /// Whether at most a third is left of the time in which the token is due and usable (G47).
    pub(super) fn is_near_its_end(&self, now: Reading) -> bool {
        now.until(self.usable_until).saturating_mul(3) <= self.usable_until.since(self.due)
    }

    /// Whether the token is usable for `remaining` from now on, or is still in the first half of its
    /// lifetime: only after that is it refreshed for more time, so it costs at most two fetches (G6).
    #[inline]
    pub(crate) fn lasts(&self, remaining: Duration, now: Reading) -> bool {
        remaining.is_zero()
            || now.until(self.usable_until) >= remaining
            || !now.has_reached(self.half)
    }
}

/// Returns how long `token` lives from `sent` on: the earlier of its two stated ends, else the default.
/// Returns `None` if that is less than a second.
pub(crate) fn lifetime(token: &Token, sent: Reading, policy: &Policy) -> Option<Duration> {
    let (expires_in, expires_at) = token.stated_lifetime();
    let until = match expires_at {
        Some(at) => Some(sent.until_wall(at)?),
        None => None,
    };
    let stated = match (expires_in, until) {
        (Some(a), Some(b)) => a.min(b),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => policy.default_lifetime,
    };
    (stated >= MIN_LIFETIME).then_some(stated.min(MAX_LIFETIME))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    fn start() -> Reading {
        Reading::new(Duration::ZERO, UNIX_EPOCH)
    }

    fn spans(lifetime: u64, policy: &Policy, jitter: f64) -> (f64, f64) {
        let schedule = Schedule::new(start(), Duration::from_secs(lifetime), policy, jitter);
        (
            schedule.due.since(start()).as_secs_f64(),
            schedule.usable_until.since(start()).as_secs_f64(),
        )
    }

    #[test]
    fn the_defaults_give_the_documented_instants() {
        let policy = Policy::default();
        // An hour: 30 s of leeway, 10 min of window, at most 5 min of jitter.
        assert_eq!(spans(3600, &policy, 0.0), (2970.0, 3570.0));
        assert_eq!(spans(3600, &policy, 1.0), (2670.0, 3570.0));
        // Five minutes: 30 s, 75 s, 37.5 s.
        assert_eq!(spans(300, &policy, 0.0), (195.0, 270.0));
        assert_eq!(spans(300, &policy, 1.0), (157.5, 270.0));
    }

    #[test]
    fn more_time_than_is_left_is_worth_a_new_token_after_half_of_a_lifetime() {
        let secs = Duration::from_secs;
        let schedule = Schedule::new(start(), secs(3600), &Policy::default(), 0.0);
        let lasts = |remaining, at| schedule.lasts(secs(remaining), start() + secs(at));
        assert!(lasts(0, 3569));
        assert!(lasts(600, 2970));
        assert!(!lasts(600, 2971));
        // Nobody can ask for more than half a lifetime.
        assert!(lasts(86_400, 1799));
        assert!(!lasts(86_400, 1800));
    }

    #[test]
    fn b05_short_lifetimes_leave_half_of_themselves_fresh() {
        for lifetime in [10, 2, 1] {
            let (due, usable) = spans(lifetime, &Policy::default(), 1.0);
            assert!(due >= lifetime as f64 / 2.0, "{lifetime}: due {due}");
            assert_eq!(usable, lifetime as f64 * 0.9);
        }
    }

    #[test]
    fn b04_a_window_larger_than_the_lifetime_is_clamped() {
        let policy = Policy {
            max_window: Duration::from_secs(86_400),
            max_leeway: Duration::from_secs(86_400),
            ..Policy::default()
        };
        assert_eq!(spans(1000, &policy, 0.0), (650.0, 900.0));
        assert_eq!(spans(1000, &policy, 1.0), (525.0, 900.0));
    }

    #[test]
    fn b11_the_earlier_of_two_stated_lifetimes_counts() {
        let policy = Policy::default();
        let token = || Token::new("t").unwrap();
        let at = |secs| UNIX_EPOCH + Duration::from_secs(secs);
        let secs = Duration::from_secs;
        let of = |token: Token| lifetime(&token, start(), &policy);
        assert_eq!(
            of(token().expires_in(secs(3600)).expires_at(at(300))),
            Some(secs(300))
        );
        assert_eq!(
            of(token().expires_in(secs(60)).expires_at(at(300))),
            Some(secs(60))
        );
        assert_eq!(of(token().expires_at(at(300))), Some(secs(300)));
        assert_eq!(of(token()), Some(DEFAULT_LIFETIME));
        assert_eq!(of(token().expires_in(secs(0))), None);
        assert_eq!(of(token().expires_in(Duration::from_millis(999))), None);
        assert_eq!(of(token().expires_at(UNIX_EPOCH)), None);
        assert_eq!(of(token().expires_in(Duration::MAX)), Some(MAX_LIFETIME));
    }

    prop_compose! {
        fn any_reading()(monotonic in any::<u64>(), wall in -(1i64 << 40)..(1i64 << 40)) -> Reading {
            let wall = match wall {
                0.. => UNIX_EPOCH + Duration::from_secs(wall.unsigned_abs()),
                _ => SystemTime::UNIX_EPOCH - Duration::from_secs(wall.unsigned_abs()),
            };
            Reading::new(Duration::from_nanos(monotonic), wall)
        }
    }

    proptest! {
        #[test]
        fn a_schedule_is_ordered_over_the_whole_range(
            sent in any_reading(),
            lifetime in any::<u64>().prop_map(Duration::from_nanos),
            max_window in any::<u64>().prop_map(Duration::from_nanos),
            max_leeway in any::<u64>().prop_map(Duration::from_nanos),
            jitter in 0.0..1.0f64,
        ) {
            let policy = Policy { max_window, max_leeway, ..Policy::default() };
            let schedule = Schedule::new(sent, lifetime, &policy, jitter);
            prop_assert!(schedule.usable_until.has_reached(schedule.due));
            prop_assert!((schedule.due + Duration::from_nanos(8)).has_reached(schedule.half));
            prop_assert!((sent + lifetime).has_reached(schedule.usable_until));
            // Rounding may take a few nanoseconds of the half.
            prop_assert!((schedule.due + Duration::from_nanos(8)).has_reached(sent + lifetime / 2));
            prop_assert!(!schedule.is_fresh(schedule.due));
            prop_assert!(schedule.is_expired(schedule.usable_until));
        }
    }
}
