//! The three shapes of token endpoint, and what a path is for.

use crate::{
    journal::Kind,
    wire::{keycloak, v1, v2},
};

/// A shape of token endpoint. Control planes differ in which of them they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointVersion {
    /// `POST /api/v1/token`: JSON.
    V1,
    /// `POST /api/v2/token`: a form, RFC 6749.
    V2,
    /// Keycloak's own, under `/auth/realms/`.
    Keycloak,
}

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Token(EndpointVersion),
    /// Keycloak's discovery document.
    Configuration,
    /// The page where people log in.
    Login,
    Api,
}

impl Endpoint {
    pub(crate) fn of(path: &str) -> Self {
        match path {
            v1::PATH => Self::Token(EndpointVersion::V1),
            v2::PATH => Self::Token(EndpointVersion::V2),
            _ => keycloak::page(path).map_or(Self::Api, |(_, page)| page),
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Token(_) => Kind::Token,
            Self::Configuration | Self::Login => Kind::Discovery,
            Self::Api => Kind::Api,
        }
    }

    /// The form that it is a part of.
    pub(crate) fn form(self) -> Option<EndpointVersion> {
        match self {
            Self::Token(form) => Some(form),
            Self::Configuration | Self::Login => Some(EndpointVersion::Keycloak),
            Self::Api => None,
        }
    }

    /// The only method that it answers, if there is only one.
    pub(crate) fn method(self) -> Option<http::Method> {
        match self {
            Self::Token(_) => Some(http::Method::POST),
            Self::Configuration | Self::Login => Some(http::Method::GET),
            Self::Api => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_for_one_thing() {
        for (path, endpoint) in [
            ("/api/v1/token", Endpoint::Token(EndpointVersion::V1)),
            ("/api/v2/token", Endpoint::Token(EndpointVersion::V2)),
            (
                "/auth/realms/a/protocol/openid-connect/token",
                Endpoint::Token(EndpointVersion::Keycloak),
            ),
            (
                "/auth/realms/a/.well-known/openid-configuration",
                Endpoint::Configuration,
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
