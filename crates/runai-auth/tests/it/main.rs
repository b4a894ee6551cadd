//! Public behaviour of the crate, against hostile peers and files.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod faults_page;
mod foreign_text;
mod hostile;
mod known_secrets;
