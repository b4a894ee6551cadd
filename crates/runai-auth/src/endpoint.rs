//! The three forms of token endpoint that control planes have had.

/// Which form of token endpoint a control plane has.
///
/// | | path | since |
/// | --- | --- | --- |
/// | [`Keycloak`](Self::Keycloak) | `/auth/realms/<realm>/protocol/openid-connect/token` | up to about 2.16 |
/// | [`V1`](Self::V1) | `/api/v1/token` | 2.18; deprecated in 2.25 |
/// | [`V2`](Self::V2) | `/api/v2/token` | 2.24 |
///
/// [`Auto`](Self::Auto) finds out. The first request goes to v1, as the how-to page has it. Where there
/// is no such endpoint (404, 405, 410, or a web page), the other forms are asked *without* the secret,
/// and the first that answers as itself gets it. So at most two requests of a fetch carry the secret,
/// both to the control plane's own origin. A form that has issued a token is remembered until it is
/// gone. An error or a refusal is an answer: no other form is tried after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenEndpoint {
    /// It is found out.
    #[default]
    Auto,
    /// `/api/v1/token`: JSON.
    V1,
    /// `/api/v2/token`: a form, RFC 6749.
    V2,
    /// Keycloak's own endpoint: a form. See [`ControlPlane::realm`](crate::ControlPlane::realm).
    Keycloak,
}

impl TokenEndpoint {
    /// The form that is set, if it is not to be found out.
    pub(crate) fn form(self) -> Option<EndpointVersion> {
        match self {
            Self::Auto => None,
            Self::V1 => Some(EndpointVersion::V1),
            Self::V2 => Some(EndpointVersion::V2),
            Self::Keycloak => Some(EndpointVersion::Keycloak),
        }
    }
}

/// One form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointVersion {
    V1,
    V2,
    Keycloak,
}

impl EndpointVersion {
    /// In the order in which they are looked for.
    pub(crate) const ALL: [Self; 3] = [Self::V1, Self::V2, Self::Keycloak];

    /// Its path below the control plane's URL.
    pub(crate) fn path(self, realm: &str) -> String {
        match self {
            Self::V1 => "/api/v1/token".into(),
            Self::V2 => "/api/v2/token".into(),
            Self::Keycloak => format!("{}/protocol/openid-connect/token", issuer_path(realm)),
        }
    }
}

/// Where Keycloak's realm is below the control plane's URL.
pub(crate) fn issuer_path(realm: &str) -> String {
    format!("/auth/realms/{realm}")
}
