//! Decides whether a response rejects the token.

use http::{HeaderName, Response, StatusCode, Uri, response};

use super::{
    attach::Rules,
    challenge::{Complaint, complaint},
};

/// The header of gRPC's status. It is among the headers only if there is no body (gRPC over HTTP/2, "Responses").
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// gRPC's `UNAUTHENTICATED`.
const UNAUTHENTICATED: &[u8] = b"16";

impl Rules {
    /// Fast path: returns true if the response is certainly not a rejection, and is handed on unchanged.
    #[inline]
    pub(super) fn plainly_accepts<R>(&self, response: &Response<R>) -> bool {
        !is_rejection(response) && self.reject_when.is_none() && !self.mark_responses
    }

    /// Returns whether the response to a request to `sent_to` rejects the token, and the response.
    pub(super) fn rejects<R>(
        &self,
        response: Response<R>,
        sent_to: Option<&Uri>,
    ) -> (bool, Response<R>) {
        let rejects = is_rejection(&response);
        let asks_user = self.reject_when.is_some() && !rejects;
        if !asks_user && (sent_to.is_none() || !rejects) {
            return (rejects, response);
        }
        // The user's functions see a head, which only a response that is taken apart has.
        let (head, body) = response.into_parts();
        let rejects = rejects || self.reject_when.is_some_and(|user| user(&head));
        let rejects = rejects && !self.has_left(&head, sent_to);
        (rejects, Response::from_parts(head, body))
    }

    /// Returns true if the response comes from another origin than the token was sent to: a client inside
    /// the layer followed a redirect and left the token behind.
    fn has_left(&self, head: &response::Parts, sent_to: Option<&Uri>) -> bool {
        let came_from = self.final_uri.and_then(|final_uri| final_uri(head));
        match (sent_to, came_from) {
            (Some(sent_to), Some(came_from)) => !self.origins.are_one(sent_to, came_from),
            _ => false,
        }
    }
}

#[inline]
fn is_rejection<R>(response: &Response<R>) -> bool {
    match response.status() {
        StatusCode::UNAUTHORIZED => complaint(response.headers()) == Complaint::Token,
        StatusCode::OK => response
            .headers()
            .get(GRPC_STATUS)
            .is_some_and(|status| status.as_bytes() == UNAUTHENTICATED),
        _ => false,
    }
}
