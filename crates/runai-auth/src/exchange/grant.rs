//! What a token request sends, for each grant and each version of the endpoint.
//!
//! | grant | v1 (`/api/v1/token`, JSON) | v2 and Keycloak (a form, RFC 6749) |
//! | --- | --- | --- |
//! | client | `app_token`, as the how-to and the SDK send it, or `client_credentials` | `client_credentials` |
//! | password | `password` | `password` |
//! | refresh token | `refresh_token` | `refresh_token` |
//! | authorization code | `exchange_token` | `authorization_code` |
//! | external token | `external_token_exchange` | – |
//!
//! Sources disagree on the case of v1's members: `app_token` follows the how-to page, all others follow the
//! OpenAPI document.

use http::Uri;
use tower_bearer::oauth2::{SecretText, TokenRequest};
use zeroize::Zeroizing;

use super::endpoint::EndpointVersion;

/// The name of a client's grant at `/api/v1/token`. The other endpoints know one name only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientGrant {
    /// `app_token`, which every version of the control plane accepts.
    #[default]
    AppToken,
    /// `client_credentials`, which 2.20 and later accept.
    ClientCredentials,
}

/// A grant with its secrets, as they are at this fetch.
#[derive(Clone, Debug)]
pub(crate) enum Grant {
    Client {
        id: String,
        secret: SecretText,
        v1: ClientGrant,
    },
    #[cfg(feature = "user-login")]
    Password {
        username: String,
        password: SecretText,
        client_id: String,
    },
    Refresh {
        token: SecretText,
        client_id: String,
    },
    #[cfg(feature = "user-login")]
    Code {
        code: SecretText,
        client_id: String,
        redirect_uri: String,
        /// The PKCE verifier (RFC 7636), which v1 does not accept.
        verifier: Option<SecretText>,
    },
    External {
        token: SecretText,
    },
}

/// A JSON member or a form parameter, which may be a secret.
enum Part<'a> {
    Open(&'a str, &'a str),
    Secret(&'a str, &'a SecretText),
}

use Part::{Open, Secret};

impl Grant {
    /// Returns whether an endpoint of this version knows this grant.
    pub(super) fn exists_at(&self, version: EndpointVersion) -> bool {
        version == EndpointVersion::V1 || !matches!(self, Self::External { .. })
    }

    /// Returns the secrets that a request with this grant carries.
    pub(super) fn secrets(&self) -> Vec<SecretText> {
        let (one, other) = match self {
            Self::Client { secret, .. } => (secret, None),
            #[cfg(feature = "user-login")]
            Self::Password { password, .. } => (password, None),
            Self::Refresh { token, .. } | Self::External { token } => (token, None),
            #[cfg(feature = "user-login")]
            Self::Code { code, verifier, .. } => (code, verifier.as_ref()),
        };
        std::iter::once(one).chain(other).cloned().collect()
    }

    /// Returns the request to an endpoint of this version.
    pub(crate) fn request(&self, version: EndpointVersion, endpoint: Uri) -> TokenRequest {
        match version {
            EndpointVersion::V1 => json_request(endpoint, &self.v1()),
            EndpointVersion::V2 => form_request(endpoint, &self.rfc6749()),
            // The how-to page for Keycloak asks for the scope.
            EndpointVersion::Keycloak => {
                form_request(endpoint, &self.rfc6749()).parameter("scope", "openid")
            }
        }
    }

    fn v1(&self) -> Vec<Part<'_>> {
        match self {
            Self::Client { id, secret, v1 } => match v1 {
                ClientGrant::AppToken => vec![
                    Open("grantType", "app_token"),
                    Open("AppId", id),
                    Secret("AppSecret", secret),
                ],
                ClientGrant::ClientCredentials => vec![
                    Open("grantType", "client_credentials"),
                    Open("clientID", id),
                    Secret("clientSecret", secret),
                ],
            },
            #[cfg(feature = "user-login")]
            Self::Password {
                username,
                password,
                client_id,
            } => vec![
                Open("grantType", "password"),
                Open("username", username),
                Secret("password", password),
                Open("clientID", client_id),
            ],
            Self::Refresh { token, client_id } => vec![
                Open("grantType", "refresh_token"),
                Secret("refreshToken", token),
                Open("clientID", client_id),
            ],
            #[cfg(feature = "user-login")]
            Self::Code {
                code,
                client_id,
                redirect_uri,
                ..
            } => vec![
                Open("grantType", "exchange_token"),
                Secret("code", code),
                Open("clientID", client_id),
                Open("redirectUri", redirect_uri),
            ],
            Self::External { token } => vec![
                Open("grantType", "external_token_exchange"),
                Secret("externalToken", token),
            ],
        }
    }

    /// Returns the parameters of RFC 6749, with the client's credentials in the body.
    fn rfc6749(&self) -> Vec<Part<'_>> {
        match self {
            Self::Client { id, secret, .. } => vec![
                Open("grant_type", "client_credentials"),
                Open("client_id", id),
                Secret("client_secret", secret),
            ],
            #[cfg(feature = "user-login")]
            Self::Password {
                username,
                password,
                client_id,
            } => vec![
                Open("grant_type", "password"),
                Open("client_id", client_id),
                Open("username", username),
                Secret("password", password),
            ],
            Self::Refresh { token, client_id } => vec![
                Open("grant_type", "refresh_token"),
                Open("client_id", client_id),
                Secret("refresh_token", token),
            ],
            #[cfg(feature = "user-login")]
            Self::Code {
                code,
                client_id,
                redirect_uri,
                verifier,
            } => {
                let mut parts = vec![
                    Open("grant_type", "authorization_code"),
                    Open("client_id", client_id),
                    Secret("code", code),
                    Open("redirect_uri", redirect_uri),
                ];
                parts.extend(verifier.iter().map(|it| Secret("code_verifier", it)));
                parts
            }
            // `Exchange::issue` asks `exists_at` first.
            Self::External { .. } => Vec::new(),
        }
    }
}

fn form_request(endpoint: Uri, parts: &[Part<'_>]) -> TokenRequest {
    let form = TokenRequest::form(endpoint);
    parts.iter().fold(form, |form, part| match part {
        Open(name, value) => form.parameter(name, value),
        Secret(name, value) => form.secret_parameter(name, value),
    })
}

fn json_request(endpoint: Uri, parts: &[Part<'_>]) -> TokenRequest {
    let text = |part: &Part<'_>| match part {
        Open(name, value) => (name.len(), value.len()),
        Secret(name, value) => (name.len(), value.expose_secret().len()),
    };
    // An escaped character takes at most six bytes. A buffer that grew would leave copies of secrets
    // behind.
    let capacity = parts
        .iter()
        .map(text)
        .map(|(name, value)| name + 6 * value + 6);
    let mut body = Zeroizing::new(Vec::with_capacity(2 + capacity.sum::<usize>()));
    for part in parts {
        let (name, value) = match part {
            Open(name, value) => (name, *value),
            Secret(name, value) => (name, value.expose_secret()),
        };
        let separator = if body.is_empty() { b'{' } else { b',' };
        body.push(separator);
        string(name, &mut body);
        body.push(b':');
        string(value, &mut body);
    }
    body.push(b'}');
    let request = TokenRequest::json(endpoint, std::mem::take(&mut *body));
    parts.iter().fold(request, |request, part| match part {
        Open(..) => request,
        Secret(_, value) => request.secret(value),
    })
}

/// Appends a JSON string. Writing text to memory cannot fail.
fn string(text: &str, into: &mut Vec<u8>) {
    let start = into.len();
    if serde_json::to_writer(&mut *into, text).is_err() {
        into.truncate(start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn sent(grant: &Grant, version: EndpointVersion) -> String {
        let endpoint = Uri::from_static("https://acme.run.ai/token");
        let request = grant.request(version, endpoint);
        String::from_utf8(request.expose_body().to_vec()).unwrap()
    }

    fn client(v1: ClientGrant) -> Grant {
        Grant::Client {
            id: "my-app".into(),
            secret: "s3cr3t/+\"\u{e9}".into(),
            v1,
        }
    }

    #[test]
    fn a_clients_request_has_the_how_tos_exact_bytes() {
        assert_eq!(
            sent(&client(ClientGrant::AppToken), EndpointVersion::V1),
            "{\"grantType\":\"app_token\",\"AppId\":\"my-app\",\"AppSecret\":\"s3cr3t/+\\\"\u{e9}\"}"
        );
        assert_eq!(
            sent(&client(ClientGrant::ClientCredentials), EndpointVersion::V1),
            "{\"grantType\":\"client_credentials\",\"clientID\":\"my-app\",\
             \"clientSecret\":\"s3cr3t/+\\\"\u{e9}\"}"
        );
        let body =
            "grant_type=client_credentials&client_id=my-app&client_secret=s3cr3t%2F%2B%22%C3%A9";
        assert_eq!(
            sent(&client(ClientGrant::AppToken), EndpointVersion::V2),
            body
        );
        assert_eq!(
            sent(&client(ClientGrant::AppToken), EndpointVersion::Keycloak),
            format!("{body}&scope=openid")
        );
    }

    #[test]
    fn a_refresh_token_and_an_external_token() {
        let refresh = Grant::Refresh {
            token: "r1".into(),
            client_id: "cli".into(),
        };
        assert_eq!(
            sent(&refresh, EndpointVersion::V1),
            r#"{"grantType":"refresh_token","refreshToken":"r1","clientID":"cli"}"#
        );
        assert_eq!(
            sent(&refresh, EndpointVersion::V2),
            "grant_type=refresh_token&client_id=cli&refresh_token=r1"
        );
        let external = Grant::External { token: "e1".into() };
        assert_eq!(
            sent(&external, EndpointVersion::V1),
            r#"{"grantType":"external_token_exchange","externalToken":"e1"}"#
        );
        assert!(!external.exists_at(EndpointVersion::V2) && refresh.exists_at(EndpointVersion::V2));
    }

    #[cfg(feature = "user-login")]
    #[test]
    fn a_password_and_a_code() {
        let password = Grant::Password {
            username: "ada@example.com".into(),
            password: "p&w".into(),
            client_id: "cli".into(),
        };
        assert_eq!(
            sent(&password, EndpointVersion::V1),
            r#"{"grantType":"password","username":"ada@example.com","password":"p&w","clientID":"cli"}"#
        );
        assert_eq!(
            sent(&password, EndpointVersion::V2),
            "grant_type=password&client_id=cli&username=ada%40example.com&password=p%26w"
        );
        let code = Grant::Code {
            code: "c1".into(),
            client_id: "cli".into(),
            redirect_uri: "http://127.0.0.1:1/".into(),
            verifier: Some("v1".into()),
        };
        assert_eq!(
            sent(&code, EndpointVersion::V1),
            r#"{"grantType":"exchange_token","code":"c1","clientID":"cli","redirectUri":"http://127.0.0.1:1/"}"#
        );
        assert_eq!(
            sent(&code, EndpointVersion::V2),
            "grant_type=authorization_code&client_id=cli&code=c1&\
             redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2F&code_verifier=v1"
        );
    }

    /// From the file to the request that is sent: the text that was read, and the body.
    #[tokio::test]
    async fn p06_a_fetch_makes_one_copy_of_a_secret_its_requests_body() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "s3cr3t\n").unwrap();
        for secret in [Secret::file(path), Secret::from("s3cr3t")] {
            let first = secret.current().await.unwrap();
            // Each fetch uses the text that the first one read.
            let again = secret.current().await.unwrap();
            let place = first.expose_secret().as_ptr();
            assert_eq!(again.expose_secret().as_ptr(), place);
            let grant = Grant::Client {
                id: "ci-bot".into(),
                secret: again,
                v1: ClientGrant::AppToken,
            };
            let Grant::Client {
                secret: in_grant, ..
            } = &grant.clone()
            else {
                panic!("another grant");
            };
            assert_eq!(in_grant.expose_secret().as_ptr(), place);
            for version in EndpointVersion::ALL {
                let endpoint = http::Uri::from_static("https://acme.run.ai/token");
                let request = grant.request(version, endpoint);
                let body = String::from_utf8_lossy(request.expose_body()).into_owned();
                assert_eq!(body.matches("s3cr3t").count(), 1, "{body}");
            }
        }
    }

    #[test]
    fn no_grant_shows_its_secret() {
        let shown = format!("{:?}", client(ClientGrant::AppToken));
        assert!(
            shown.contains("my-app") && !shown.contains("s3cr3t"),
            "{shown}"
        );
    }
}
