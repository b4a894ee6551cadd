//! The state that all connections and the test share.

use std::{
    collections::HashMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    applications::Applications, memory::Memory, plans::Plans, tokens::Tokens, users::Users,
};
use crate::{endpoint_version::EndpointVersion, journal::Journal};

/// What a builder has configured.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) applications: Vec<(String, String)>,
    pub(crate) users: Vec<(String, String)>,
    pub(crate) external_tokens: Vec<(String, String)>,
    pub(crate) rotate_refresh_tokens: bool,
    pub(crate) realm: String,
    /// The endpoint versions that the control plane does not have.
    pub(crate) without: Vec<EndpointVersion>,
    pub(crate) token_lifetime: Duration,
    pub(crate) v1_expires_in: bool,
}

#[derive(Debug)]
pub(crate) struct State {
    /// The base URL, without a slash at the end.
    url: String,
    realm: String,
    without: Vec<EndpointVersion>,
    journal: Journal,
    memory: Mutex<Memory>,
}

impl State {
    pub(crate) fn new(setup: Setup, url: String) -> io::Result<Self> {
        Ok(Self {
            url,
            realm: setup.realm,
            without: setup.without,
            journal: Journal::new(),
            memory: Mutex::new(Memory {
                applications: Applications::new(setup.applications),
                users: Users::new(setup.users, setup.rotate_refresh_tokens),
                external_tokens: HashMap::from_iter(setup.external_tokens),
                tokens: Tokens::new(setup.token_lifetime, setup.v1_expires_in)?,
                plans: Plans::default(),
                clock_offset: 0,
                discovered_token_endpoint: None,
            }),
        })
    }

    /// Locks what can change. Hold the guard for one step only, and never across an `await`.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the fake's time of day, in seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.lock().now()
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn realm(&self) -> &str {
        &self.realm
    }

    /// Returns true if the control plane has this version of the token endpoint.
    pub(crate) fn has(&self, version: EndpointVersion) -> bool {
        !self.without.contains(&version)
    }
}
