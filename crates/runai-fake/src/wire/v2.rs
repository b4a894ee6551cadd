//! `POST /api/v2/token`: a form, RFC 6749.

use http::HeaderMap;

use crate::{
    answer::Answer,
    behaviour::Behaviour,
    endpoint_version::EndpointVersion,
    state::State,
    wire::oauth2::{self, Client},
};

pub(crate) const PATH: &str = "/api/v2/token";

pub(crate) fn answer(
    state: &State,
    headers: &HeaderMap,
    body: &[u8],
    behaviour: &Behaviour,
) -> Answer {
    let fields = match oauth2::fields(headers, body) {
        Ok(fields) => fields,
        Err(answer) => return *answer,
    };
    let client = Client::in_body(&fields);
    let grant = match oauth2::grant(state, &fields, &client, behaviour, EndpointVersion::V2) {
        Ok(grant) => grant,
        Err(answer) => return *answer,
    };
    let mut answer = oauth2::granted(&grant);
    if grant.is_person {
        answer["id_token"] = grant.token.into();
    }
    oauth2::sent(&answer, grant.generation, grant.client)
}
