//! The three versions of the token endpoint that control planes have had.

/// Says which version of the token endpoint a control plane has.
///
/// | | path | since |
/// | --- | --- | --- |
/// | [`Keycloak`](Self::Keycloak) | `/auth/realms/<realm>/protocol/openid-connect/token` | up to about 2.16 |
/// | [`V1`](Self::V1) | `/api/v1/token` | 2.18; deprecated in 2.25 |
/// | [`V2`](Self::V2) | `/api/v2/token` | 2.24 |
///
/// [`Auto`](Self::Auto) detects the version. The first request goes to v1, as the how-to page has it. If
/// there is no such endpoint (404, 405, 410, or a web page), the client probes the other versions *without*
/// the secret, and sends the secret to the first that answers like a token endpoint. So at most two requests
/// of a fetch carry the secret, both to the control plane's own origin. A version that has issued a token is
/// remembered until it is gone. An error or a rejection is an answer: no other version is tried after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenEndpoint {
    /// Detects the version.
    #[default]
    Auto,
    /// `/api/v1/token`, which takes JSON.
    V1,
    /// `/api/v2/token`, which takes a form (RFC 6749).
    V2,
    /// Keycloak's own endpoint, which takes a form. See
    /// [`ControlPlane::realm`](crate::ControlPlane::realm).
    Keycloak,
}

impl TokenEndpoint {
    /// Returns the version, unless it is to be detected.
    pub(crate) fn version(self) -> Option<EndpointVersion> {
        match self {
            Self::Auto => None,
            Self::V1 => Some(EndpointVersion::V1),
            Self::V2 => Some(EndpointVersion::V2),
            Self::Keycloak => Some(EndpointVersion::Keycloak),
        }
    }
}

/// A version of the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointVersion {
    V1,
    V2,
    Keycloak,
}

impl EndpointVersion {
    /// All versions, in the order in which they are tried.
    pub(crate) const ALL: [Self; 3] = [Self::V1, Self::V2, Self::Keycloak];

    /// Returns the endpoint's path below the control plane's URL.
    pub(crate) fn path(self, realm: &str) -> String {
        match self {
            Self::V1 => "/api/v1/token".into(),
            Self::V2 => "/api/v2/token".into(),
            Self::Keycloak => format!("{}/protocol/openid-connect/token", issuer_path(realm)),
        }
    }
}

/// Returns the path of Keycloak's realm below the control plane's URL.
pub(crate) fn issuer_path(realm: &str) -> String {
    format!("/auth/realms/{realm}")
}
