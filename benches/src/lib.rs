//! What the measurements of `benches/run` share.

pub mod allocs;
pub mod counted;
pub mod endpoint;
pub mod paired;
pub mod peers;
pub mod source;
pub mod stacks;
pub mod stats;
pub mod upload;
pub mod workload;
