//! The engine: who is served, who waits, when the source is called, and what its answer becomes.

mod acquire;
mod cell;
mod complete;
mod core;
mod in_flight;
mod lifetime;
mod limit;
mod look;
mod state;
mod task;
mod warm;

#[cfg(all(test, tower_bearer_loom))]
mod loom_tests;

pub use self::acquire::Acquire;
pub(crate) use self::{
    core::{Core, Settings},
    in_flight::{Completion, InFlight},
    lifetime::{DEFAULT_LIFETIME, MAX_LEEWAY, MAX_LIFETIME, MAX_WINDOW, Policy},
    look::{Look, Stamp, Want},
    warm::host,
};
