//! What the control plane knows and remembers.

mod grants;
mod people;
mod shared;

pub use self::shared::Issued;
pub(crate) use self::{
    grants::{Access, Grant, Proof},
    people::{Code, REFRESH_LIFETIME, Reason, Refusal},
    shared::{Planned, Setup, State},
};
