//! The versions of the token endpoint, and the endpoint that a request's path names.

use http::{HeaderMap, Method, header};

use crate::journal::Kind;

const V1_TOKEN: &str = "/api/v1/token";
const V2_TOKEN: &str = "/api/v2/token";
/// Keycloak's pages lie below `/auth/realms/<realm>/`.
const KEYCLOAK_REALMS: &str = "/auth/realms/";
pub(crate) const KEYCLOAK_TOKEN: &str = "protocol/openid-connect/token";
pub(crate) const KEYCLOAK_LOGIN: &str = "protocol/openid-connect/auth";
const KEYCLOAK_DISCOVERY: &str = ".well-known/openid-configuration";

/// A version of the token endpoint. Control planes differ in which of them they have.
///
/// ```
/// use runai_fake::EndpointVersion;
///
/// assert_eq!(EndpointVersion::V2.name(), "v2");
/// assert_eq!(EndpointVersion::from_name("keycloak"), Some(EndpointVersion::Keycloak));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointVersion {
    /// `POST /api/v1/token`, which takes JSON.
    V1,
    /// `POST /api/v2/token`, which takes an HTML form as in RFC 6749.
    V2,
    /// The token endpoint of Keycloak itself, under `/auth/realms/`. It takes the same form as v2.
    Keycloak,
}

impl EndpointVersion {
    /// Returns every version.
    #[must_use]
    pub const fn all() -> &'static [Self] {
        &[Self::V1, Self::V2, Self::Keycloak]
    }

    /// Returns the name that the program's flags and the control interface use: `v1`, `v2` or
    /// `keycloak`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Keycloak => "keycloak",
        }
    }

    /// Returns the version with this [name](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().iter().copied().find(|it| it.name() == name)
    }

    /// Returns true if a request with these headers has a body of the media type that this version
    /// takes.
    pub(crate) fn takes(self, headers: &HeaderMap) -> bool {
        let expected = match self {
            Self::V1 => "application/json",
            Self::V2 | Self::Keycloak => "application/x-www-form-urlencoded",
        };
        headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|value| value.trim().eq_ignore_ascii_case(expected))
    }

    /// Returns true if this version answers errors as RFC 6749 does, and not as the API does.
    pub(crate) fn is_oauth2(self) -> bool {
        match self {
            Self::V1 => false,
            Self::V2 | Self::Keycloak => true,
        }
    }
}

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Token(EndpointVersion),
    /// Keycloak's discovery document.
    Discovery,
    /// Keycloak's login page.
    Login,
    /// Everything else.
    Api,
}

impl Endpoint {
    pub(crate) fn of(path: &str) -> Self {
        match path {
            V1_TOKEN => Self::Token(EndpointVersion::V1),
            V2_TOKEN => Self::Token(EndpointVersion::V2),
            _ => keycloak_page(path).map_or(Self::Api, |(_, endpoint)| endpoint),
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Token(_) => Kind::Token,
            Self::Discovery | Self::Login => Kind::Discovery,
            Self::Api => Kind::Api,
        }
    }

    /// Returns the endpoint version that this endpoint belongs to.
    pub(crate) fn version(self) -> Option<EndpointVersion> {
        match self {
            Self::Token(version) => Some(version),
            Self::Discovery | Self::Login => Some(EndpointVersion::Keycloak),
            Self::Api => None,
        }
    }

    /// Returns the method that this endpoint answers, if there is only one.
    pub(crate) fn method(self) -> Option<Method> {
        match self {
            Self::Token(_) => Some(Method::POST),
            Self::Discovery | Self::Login => Some(Method::GET),
            Self::Api => None,
        }
    }
}

/// Splits the path of one of Keycloak's pages into its realm and its endpoint.
pub(crate) fn keycloak_page(path: &str) -> Option<(&str, Endpoint)> {
    let (realm, page) = path.strip_prefix(KEYCLOAK_REALMS)?.split_once('/')?;
    let endpoint = match page {
        KEYCLOAK_TOKEN => Endpoint::Token(EndpointVersion::Keycloak),
        KEYCLOAK_LOGIN => Endpoint::Login,
        KEYCLOAK_DISCOVERY => Endpoint::Discovery,
        _ => return None,
    };
    (!realm.is_empty()).then_some((realm, endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_one_endpoint() {
        for (path, endpoint) in [
            ("/api/v1/token", Endpoint::Token(EndpointVersion::V1)),
            ("/api/v2/token", Endpoint::Token(EndpointVersion::V2)),
            (
                "/auth/realms/a/protocol/openid-connect/token",
                Endpoint::Token(EndpointVersion::Keycloak),
            ),
            (
                "/auth/realms/a/.well-known/openid-configuration",
                Endpoint::Discovery,
            ),
            (
                "/auth/realms/a/protocol/openid-connect/auth",
                Endpoint::Login,
            ),
            ("/auth/realms/a/protocol/openid-connect/tok", Endpoint::Api),
            ("/auth/realms/a", Endpoint::Api),
            ("/auth/realms//protocol/openid-connect/token", Endpoint::Api),
            ("/api/v1/clusters", Endpoint::Api),
        ] {
            assert_eq!(Endpoint::of(path), endpoint, "{path}");
        }
    }
}
