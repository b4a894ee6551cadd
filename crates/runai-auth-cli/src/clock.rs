//! This machine's clocks.

use std::{
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Returns milliseconds since the first call. An atomic can hold them.
#[expect(
    clippy::disallowed_methods,
    reason = "connections are timed by the machine's own clock"
)]
pub(crate) fn monotonic_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Returns the Unix time, or 0 if the clock is set to an earlier year than 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "a token's expiry is compared with the machine's own clock"
)]
pub(crate) fn seconds_since_1970() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
