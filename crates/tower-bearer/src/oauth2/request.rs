//! Token requests: a form (RFC 6749) or a JSON text.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use zeroize::Zeroizing;

use super::secret::SecretText;

/// A request to a token endpoint. The memory of its body is wiped, and `Debug` shows none of it.
///
/// ```
/// use tower_bearer::oauth2::TokenRequest;
///
/// let endpoint = http::Uri::from_static("https://idp.example/token");
/// let request = TokenRequest::form(endpoint)
///     .parameter("grant_type", "client_credentials")
///     .parameter("client_id", "ci-bot")
///     .secret_parameter("client_secret", &"s3cr3t".into());
/// assert!(!format!("{request:?}").contains("s3cr3t"));
/// ```
pub struct TokenRequest {
    method: Method,
    endpoint: Uri,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
    pub(crate) secrets: Vec<SecretText>,
}

impl TokenRequest {
    /// An empty form (RFC 6749, appendix B).
    #[must_use]
    pub fn form(endpoint: Uri) -> Self {
        const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
        let this = Self::new(Method::POST, endpoint, Vec::new());
        this.header(header::CONTENT_TYPE, FORM)
            .header(header::ACCEPT, HeaderValue::from_static("application/json"))
    }

    /// A JSON text, whose memory is wiped.
    #[must_use]
    pub fn json(endpoint: Uri, body: Vec<u8>) -> Self {
        const JSON: HeaderValue = HeaderValue::from_static("application/json");
        let this = Self::new(Method::POST, endpoint, body);
        this.header(header::CONTENT_TYPE, JSON)
            .header(header::ACCEPT, HeaderValue::from_static("*/*"))
    }

    /// A `GET` without a body, for a discovery document.
    #[must_use]
    pub fn get(endpoint: Uri) -> Self {
        Self::new(Method::GET, endpoint, Vec::new())
            .header(header::ACCEPT, HeaderValue::from_static("application/json"))
    }

    fn new(method: Method, endpoint: Uri, body: Vec<u8>) -> Self {
        Self {
            method,
            endpoint,
            headers: HeaderMap::new(),
            body: Zeroizing::new(body),
            secrets: Vec::new(),
        }
    }

    /// Adds a parameter to a form.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        // An encoded byte takes three at most.
        make_room(&mut self.body, 2 + 3 * (name.len() + value.len()));
        if !self.body.is_empty() {
            self.body.push(b'&');
        }
        encode(name, &mut self.body);
        self.body.push(b'=');
        encode(value, &mut self.body);
        self
    }

    /// Adds a secret to a form. No error will repeat it.
    #[must_use]
    pub fn secret_parameter(self, name: &str, value: &SecretText) -> Self {
        self.parameter(name, value.expose_secret()).secret(value)
    }

    /// Names a secret that is in a JSON body, so that no error repeats it.
    #[must_use]
    pub fn secret(mut self, secret: &SecretText) -> Self {
        self.secrets.push(secret.clone());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Authenticates the client by HTTP Basic (RFC 6749, section 2.3.1: both parts are form-encoded
    /// first).
    #[must_use]
    pub fn basic(mut self, id: &str, secret: &SecretText) -> Self {
        let both = id.len() + secret.expose_secret().len();
        let mut pair = Zeroizing::new(Vec::with_capacity(1 + 3 * both));
        encode(id, &mut pair);
        pair.push(b':');
        encode(secret.expose_secret(), &mut pair);
        let mut line = Zeroizing::new(String::with_capacity(8 + 2 * pair.capacity()));
        line.push_str("Basic ");
        STANDARD.encode_string(&*pair, &mut line);
        let bytes = Zeroizing::new(std::mem::take(&mut *line).into_bytes());
        // Base64 can always stand in a header.
        if let Ok(mut value) = HeaderValue::from_maybe_shared(Bytes::from_owner(bytes)) {
            value.set_sensitive(true);
            self.headers.insert(header::AUTHORIZATION, value);
        }
        self.secret(secret)
    }

    /// Sets where it goes.
    pub(crate) fn to(mut self, endpoint: Uri) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// The body, which holds secrets.
    #[must_use]
    pub fn expose_body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn into_http(self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::from_owner(self.body)));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.endpoint;
        *request.headers_mut() = self.headers;
        request
    }
}

/// Makes room in a body that may hold secrets. `Vec` would free its old memory unwiped. There is as much room
/// left again, so that what follows a secret seldom moves it.
fn make_room(body: &mut Zeroizing<Vec<u8>>, more: usize) {
    if body.capacity() - body.len() >= more {
        return;
    }
    let mut larger = Zeroizing::new(Vec::with_capacity(2 * (body.len() + more)));
    larger.extend_from_slice(body);
    *body = larger;
}

fn encode(text: &str, into: &mut Vec<u8>) {
    for piece in form_urlencoded::byte_serialize(text.as_bytes()) {
        into.extend_from_slice(piece.as_bytes());
    }
}

impl std::fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenRequest")
            .field("method", &self.method)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_encoded_as_rfc_6749_says() {
        // The client of RFC 6749's appendix B has such characters in its value.
        let request = TokenRequest::form(Uri::from_static("https://idp.example/token"))
            .parameter("grant_type", "password")
            .parameter("username", " %&+\u{a3}\u{20ac}")
            .secret_parameter("password", &"a=b&c".into());
        assert_eq!(
            *request.body,
            b"grant_type=password&username=+%25%26%2B%C2%A3%E2%82%AC&password=a%3Db%26c"
        );
        assert_eq!(request.secrets.len(), 1);
    }

    #[test]
    fn p06_a_request_has_one_copy_of_a_secret_its_body() {
        let secret = SecretText::from("s3cr3t-".repeat(100));
        let request = TokenRequest::form(Uri::from_static("https://idp.example/token"))
            .parameter("grant_type", "client_credentials")
            .parameter("client_id", "ci-bot")
            .secret_parameter("client_secret", &secret);
        let body = request.expose_body().as_ptr();
        let request = request.parameter("scope", "openid");
        assert_eq!(request.expose_body().as_ptr(), body, "the secret was moved");
        let held = request.secrets[0].expose_secret();
        assert_eq!(held.as_ptr(), secret.expose_secret().as_ptr());
        let sent = request.into_http().into_body();
        let frame = tokio_test::block_on(http_body_util::BodyExt::collect(sent));
        assert_eq!(
            frame.unwrap().to_bytes().as_ptr(),
            body,
            "the body was copied"
        );
    }

    #[test]
    fn basic_encodes_both_parts_first() {
        let request = TokenRequest::form(Uri::from_static("https://idp.example/token"))
            .basic("a:b", &"p%\u{e4}".into());
        let value = &request.headers[header::AUTHORIZATION];
        assert!(value.is_sensitive());
        let pair = STANDARD
            .decode(&value.as_bytes()["Basic ".len()..])
            .unwrap();
        assert_eq!(pair, b"a%3Ab:p%25%C3%A4");
    }
}
