//! Milliseconds since the first question, for the limits on time. They are cheap to keep in an atomic.

use std::{sync::OnceLock, time::Instant};

#[expect(
    clippy::disallowed_methods,
    reason = "connections are timed by the machine's own clock"
)]
pub(crate) fn now_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}
