//! The machine that is searched.

use std::{ffi::OsString, path::Path};

/// The folder where a secret is mounted by default.
pub(super) const MOUNTED: &str = "/var/run/secrets/runai";

/// Reads an environment variable.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A machine as discovery sees it. Tests make their own.
pub(super) struct Machine<'a> {
    pub(super) lookup: Lookup<'a>,
    pub(super) mounted: &'a Path,
}

impl Machine<'_> {
    /// Returns this machine.
    pub(super) fn this() -> Self {
        Self {
            lookup: &|name| std::env::var_os(name),
            mounted: Path::new(MOUNTED),
        }
    }
}
