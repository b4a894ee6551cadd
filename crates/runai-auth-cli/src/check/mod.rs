//! `runai-auth check`: tries each step from the URL to an API call, and says which one fails.

mod certificate;
mod probe;
mod report;
mod steps;
mod within;

pub(crate) use self::steps::run;
