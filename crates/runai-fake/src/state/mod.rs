//! What the control plane remembers: applications, users, tokens, the clock, and the plans of tests.
//!
//! [`State`] is what all connections share; its one lock guards a [`Memory`](memory::Memory),
//! whose parts have a file each.

mod applications;
mod grant_error;
mod memory;
mod plans;
mod shared;
mod tokens;
mod users;

pub use self::tokens::Issued;
pub(crate) use self::{
    applications::Applications,
    grant_error::{GrantError, Reason},
    memory::{AccessStatus, GrantRequest},
    plans::Planned,
    shared::{Setup, State},
    tokens::Granted,
    users::{AuthorizationCode, REFRESH_TOKEN_LIFETIME},
};
