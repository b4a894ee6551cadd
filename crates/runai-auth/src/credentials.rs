//! Who asks for a token.

use std::{fmt, path::PathBuf, sync::Arc};

use bytes::Bytes;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::secret::{Secret, SecretFile};

/// Who asks for a token, and with what secret. The secret's memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Credentials {
    id: String,
    secret: Arc<Secret>,
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
            secret: Arc::new(Secret::Text(Zeroizing::new(secret.into()))),
        }
    }

    /// The same, with the secret in a file, as Kubernetes mounts it. One line break at its end is not
    /// part of it.
    ///
    /// The file is read at each fetch, and looked at once a second at most while requests come, so a
    /// rotated secret is used without a restart and ends a remembered refusal at once. An empty or
    /// half-written file keeps the last good secret.
    pub fn client_secret_file(id: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self::with_file(id, SecretFile::new(path))
    }

    pub(crate) fn with_file(id: impl Into<String>, file: SecretFile) -> Self {
        Self {
            id: id.into(),
            secret: Arc::new(Secret::File(file)),
        }
    }

    /// The same as [`client`](Self::client), by the UI's older name.
    pub fn application(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self::client(id, secret)
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The body of a request to `/api/v1/token`, in memory that is wiped.
    pub(crate) fn request_body(&self, secret: &str) -> serde_json::Result<Bytes> {
        let request = AppTokenRequest {
            grant_type: "app_token",
            app_id: &self.id,
            app_secret: secret,
        };
        // An escaped character takes six bytes at most, so the buffer never grows, which would leave
        // a copy behind.
        let capacity = 64 + 6 * (self.id.len() + secret.len());
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
        let body = Credentials::client("my-app", "elsewhere")
            .request_body("s3cr3t/+\"\u{e9}")
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
