//! Who asks for a token.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use zeroize::Zeroizing;

/// Who asks for a token, and with what secret. The secret's memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Credentials {
    id: String,
    secret: Zeroizing<String>,
}

/// The body of a token request, its members in the order in which the how-to page and NVIDIA's SDK
/// write them.
#[derive(Serialize)]
struct AppTokenRequest<'a> {
    #[serde(rename = "grantType")]
    grant_type: &'static str,
    #[serde(rename = "AppId")]
    app_id: &'a str,
    #[serde(rename = "AppSecret")]
    app_secret: &'a str,
}

impl Credentials {
    /// An application's name and its secret key: what the UI calls an application, and later versions
    /// a service account or an access key (a client id and a client secret).
    pub fn client(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: Zeroizing::new(secret.into()),
        }
    }

    /// The same as [`client`](Self::client), by the UI's older name.
    pub fn application(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self::client(id, secret)
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    /// The body of a request to `/api/v1/token`, in memory that is wiped.
    pub(crate) fn request_body(&self) -> serde_json::Result<Bytes> {
        let request = AppTokenRequest {
            grant_type: "app_token",
            app_id: &self.id,
            app_secret: &self.secret,
        };
        // An escaped character takes six bytes at most, so the buffer never grows, which would leave
        // a copy behind.
        let capacity = 64 + 6 * (self.id.len() + self.secret.len());
        let mut body = Zeroizing::new(Vec::with_capacity(capacity));
        serde_json::to_writer(&mut *body, &request)?;
        Ok(Bytes::from_owner(body))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_how_tos_exact_bytes() {
        let body = Credentials::client("my-app", "s3cr3t/+\"\u{e9}")
            .request_body()
            .unwrap();
        let expected = "{\"grantType\":\"app_token\",\"AppId\":\"my-app\",\"AppSecret\":\"s3cr3t/+\\\"\u{e9}\"}";
        assert_eq!(body, expected);
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:#?}", Credentials::application("my-app", "s3cr3t"));
        assert!(
            shown.contains("my-app") && !shown.contains("s3cr3t"),
            "{shown}"
        );
    }
}
