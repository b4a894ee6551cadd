//! Copies a request's head.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

/// A copy of everything in a request but its body.
///
/// The headers are a list, not a map: every request pays for the copy, and few are sent again. A list costs
/// one allocation less.
#[derive(Debug)]
pub(super) struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    headers: Vec<Option<(HeaderName, HeaderValue)>>,
    extensions: Extensions,
}

impl Head {
    // Inlined, so that it is built in place: it is too large to be moved for nothing.
    #[inline(always)]
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        let mut all = headers.iter();
        let mut copy = || {
            let (name, value) = all.next()?;
            Some((name.clone(), value.clone()))
        };
        // `HeaderMap`'s iterator does not know its length. This one does, so the list is allocated once.
        let copies = (0..headers.len()).map(|_| copy()).collect();
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: copies,
            extensions: request.extensions().clone(),
        }
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn into_request<B>(self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        // One more, for the token.
        let room = HeaderMap::try_with_capacity(self.headers.len() + 1);
        let mut headers = room.unwrap_or_default();
        for (name, value) in self.headers.into_iter().flatten() {
            headers.append(name, value);
        }
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = headers;
        *request.extensions_mut() = self.extensions;
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_request_without_its_body() {
        let mut password = HeaderValue::from_static("password");
        password.set_sensitive(true);
        let request = Request::builder()
            .method("PATCH")
            .uri("https://api.example/a?b=c")
            .version(Version::HTTP_2)
            .header("x-many", "1")
            .header("x-password", password)
            .header("x-many", "2")
            .header("accept", "*/*")
            .extension("kept")
            .body("the body")
            .unwrap();
        let copy = Head::of(&request).into_request("another");
        let (head, _) = request.into_parts();
        let (copy, body) = copy.into_parts();
        assert_eq!(body, "another");
        assert_eq!(copy.method, head.method);
        assert_eq!(copy.uri, head.uri);
        assert_eq!(copy.version, head.version);
        assert_eq!(copy.headers, head.headers);
        assert!(copy.headers["x-password"].is_sensitive());
        let many: Vec<_> = copy.headers.get_all("x-many").iter().collect();
        assert_eq!(many, ["1", "2"]);
        assert_eq!(copy.extensions.get(), Some(&"kept"));
    }
}
