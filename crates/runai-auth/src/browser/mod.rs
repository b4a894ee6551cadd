//! Logging in with a browser.

mod error;
mod listener;
mod login;
mod random;
mod redirect;

pub use self::{
    error::{LoginError, LoginErrorKind},
    login::{BrowserLogin, PendingLogin},
};
