//! What this workspace's tests share.
//!
//! - [`wait_for`] asks again and again until something holds, and [`within`] waits for a future. Both fail a
//!   test after [`LIMIT`] instead of letting it hang, so no test needs a fixed sleep.
//! - [`Scratch`] is a folder of one test, which is removed at its end.
//! - [`Program`] runs a built program as a user would, in an environment that the test alone decides.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use test_support::{Program, Scratch};
//!
//! let scratch = Scratch::new();
//! let file = scratch.write("greeting", "hello\n");
//! let ended = Program::at("cat").args(&[&file]).end().await;
//! assert_eq!(ended.success(), "hello\n");
//! # }
//! ```

mod program;
mod scratch;
mod wait;

pub use self::{
    program::{Ended, Program, Running},
    scratch::Scratch,
    wait::{LIMIT, wait_for, within},
};

#[cfg(unix)]
pub use rustix::process::Signal;
