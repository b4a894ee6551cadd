//! Every way to hold a token, against the fake.

mod cli;
mod exchanged;
mod kubeconfig;
mod rotated;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use runai_auth::{
    Auth, ControlPlane, Credentials, TokenEndpoint, tower_bearer::clock::ManualClock,
};
use runai_fake::{EndpointVersion, RunaiFake};

/// A folder of a test's own.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("runai-credentials-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

pub(crate) const ENDPOINTS: [(TokenEndpoint, EndpointVersion); 3] = [
    (TokenEndpoint::V1, EndpointVersion::V1),
    (TokenEndpoint::V2, EndpointVersion::V2),
    (TokenEndpoint::Keycloak, EndpointVersion::Keycloak),
];

/// One attempt a refresh, and a clock of the test's.
pub(crate) fn authenticate(
    fake: &RunaiFake,
    clock: &ManualClock,
    endpoint: TokenEndpoint,
    credentials: impl Into<Credentials>,
) -> Auth {
    let clock = clock.clone();
    ControlPlane::new(fake.url())
        .unwrap()
        .token_endpoint(endpoint)
        .authenticate_with(credentials, |cache| cache.clock(clock).seed(7).attempts(1))
}

/// The body of the last token request.
pub(crate) fn last_body(fake: &RunaiFake) -> String {
    let journal = fake.journal();
    let last = journal.iter().rev().find(|it| it.method == "POST").unwrap();
    String::from_utf8(last.body.to_vec()).unwrap()
}
