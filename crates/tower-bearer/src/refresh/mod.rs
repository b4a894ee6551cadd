//! The engine: who is served, who waits, when the source is called, and what its answer becomes.
//!
//! The files, from the ground up; none knows one further down:
//!
//! - [`lifetime`], [`limit`], [`settings`]: arithmetic and plain values.
//! - [`wait_list`], [`in_flight`]: those who wait for one refresh.
//! - [`look`]: what a caller wants and gets. [`cell`]: the current token.
//! - [`state`], [`decide`], [`complete`]: the decisions, pure.
//! - [`warm`]: keep-warm. [`core`]: the lock around the decisions. [`task`]: one refresh's task.
//! - [`drive`]: looks, and does what the decision asks for. [`acquire`]: the future that waits.

mod acquire;
mod cell;
mod complete;
mod core;
mod decide;
mod drive;
mod in_flight;
mod lifetime;
mod limit;
mod look;
mod settings;
mod state;
mod task;
mod wait_list;
mod warm;

#[cfg(test)]
mod tests;

pub use self::acquire::Acquire;
pub(crate) use self::{
    core::Core,
    lifetime::{DEFAULT_LIFETIME, MAX_LEEWAY, MAX_LIFETIME, MAX_WINDOW, Policy},
    look::{Look, Stamp, Want},
    settings::Settings,
};
