//! What a cache tells of itself: counts, log events, metrics, subscriptions and its status.

mod event;
mod status;
mod telemetry;

pub(crate) use self::telemetry::Telemetry;
pub use self::{
    event::{Event, Outcome, Reason, Subscription},
    status::{Phase, Status},
    telemetry::{Counts, Refreshes},
};
