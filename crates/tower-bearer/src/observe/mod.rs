//! What a cache shows of itself: counts, log events, metrics, subscriptions and its status.

mod counts;
mod event;
mod status;
mod telemetry;

pub(crate) use self::telemetry::{Ended, Ending, Telemetry, Usable};
pub use self::{
    counts::{Counts, Refreshes},
    event::{Event, Outcome, Reason, Subscription},
    status::{Phase, Status},
};
