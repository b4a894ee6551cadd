//! Which requests are let in: pure functions of a request's head. Nothing here waits or sends.

mod admit;
mod ambiguity;
mod filter;
mod host;
mod origin;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    admit::{Admitted, Guard},
    filter::Filter,
    host::HostRule,
};
