//! The engine: who is served, who waits, when the source is called, and what its answer becomes.
//!
//! The files, from the ground up; none knows one further down:
//!
//! - [`lifetime`], [`limit`], [`settings`], [`target`]: arithmetic and plain values.
//! - [`evidence`]: what rejections are evidence of.
//! - [`wait_list`], [`in_flight`]: those who wait for one refresh.
//! - [`look`]: what a caller wants and gets. [`cell`]: the current token.
//! - [`state`], [`decide`], [`complete`]: the decisions, pure.
//! - [`fetching`]: notices a source that asks its own cache. [`warm`]: keep-warm. [`core`]: the lock around the decisions. [`task`]: one refresh's task.
//! - [`drive`]: looks, and does what the decision asks for. [`acquire`]: the future that waits.

mod acquire;
mod cell;
mod complete;
mod core;
mod decide;
mod drive;
mod evidence;
mod fetching;
mod in_flight;
mod lifetime;
mod limit;
mod look;
mod settings;
mod state;
mod target;
mod task;
mod wait_list;
mod warm;

#[cfg(test)]
mod tests;

pub use self::acquire::Acquire;
pub(crate) use self::{
    core::Core,
    lifetime::{DEFAULT_LIFETIME, MAX_LEEWAY, MAX_LIFETIME, MAX_WINDOW, Policy},
    limit::Limits,
    look::{Look, Stamp, Want},
    settings::Settings,
    target::Target,
};
