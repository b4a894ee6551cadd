//! Whether a response means that the token was rejected.

use http::{HeaderName, Response, StatusCode, Uri, response};

use super::{
    challenge::{Complaint, complaint},
    layer::Rules,
};

/// Where gRPC tells its status; in the headers only if there is no body (gRPC over HTTP/2, "Responses").
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// gRPC's `UNAUTHENTICATED`.
const UNAUTHENTICATED: &[u8] = b"16";

impl Rules {
    /// Whether a response means, without a further look, that the token was taken, and is handed on as it
    /// is: so it is with nearly all.
    #[inline]
    pub(crate) fn plainly_takes<R>(&self, response: &Response<R>) -> bool {
        !is_rejection(response) && self.reject_when.is_none() && !self.mark_responses
    }

    /// Whether a response means that the token was rejected that went to `sent_to`.
    pub(crate) fn rejects<R>(
        &self,
        response: Response<R>,
        sent_to: Option<&Uri>,
    ) -> (bool, Response<R>) {
        let rejects = is_rejection(&response);
        let asks_user = self.reject_when.is_some() && !rejects;
        if !asks_user && (sent_to.is_none() || !rejects) {
            return (rejects, response);
        }
        let (head, body) = response.into_parts();
        let rejects = rejects || self.reject_when.is_some_and(|user| user(&head));
        let rejects = rejects && !self.has_left(&head, sent_to);
        (rejects, Response::from_parts(head, body))
    }

    /// Whether a response comes from another origin than the token was sent to: a client inside the
    /// layer followed a redirect, and left the token behind.
    fn has_left(&self, head: &response::Parts, sent_to: Option<&Uri>) -> bool {
        let came_from = self.final_uri.and_then(|final_uri| final_uri(head));
        match (sent_to, came_from) {
            (Some(sent_to), Some(came_from)) => !self.origins.are_one(sent_to, came_from),
            _ => false,
        }
    }
}

#[inline]
pub(super) fn is_rejection<R>(response: &Response<R>) -> bool {
    match response.status() {
        StatusCode::UNAUTHORIZED => complaint(response.headers()) == Complaint::Token,
        StatusCode::OK => response
            .headers()
            .get(GRPC_STATUS)
            .is_some_and(|status| status.as_bytes() == UNAUTHENTICATED),
        _ => false,
    }
}
