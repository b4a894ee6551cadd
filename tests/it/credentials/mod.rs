//! Every way to hold a token, against the fake.

mod cli;
mod exchanged;
mod kubeconfig;
mod rotated;

use runai_auth::{
    Auth, ControlPlane, Credentials, TokenEndpoint, tower_bearer::clock::ManualClock,
};
use runai_fake::{EndpointVersion, RunaiFake};

pub(crate) const ENDPOINTS: [(TokenEndpoint, EndpointVersion); 3] = [
    (TokenEndpoint::V1, EndpointVersion::V1),
    (TokenEndpoint::V2, EndpointVersion::V2),
    (TokenEndpoint::Keycloak, EndpointVersion::Keycloak),
];

/// One attempt per refresh, on the test's clock.
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
