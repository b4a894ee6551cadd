//! `POST /api/v2/token`: an HTML form, as in RFC 6749.

use http::HeaderMap;

use super::oauth2::{self, Client};
use crate::{
    answer::Answer, behaviour::Behaviour, endpoint_version::EndpointVersion, state::State,
};

pub(crate) fn answer(
    state: &State,
    headers: &HeaderMap,
    body: &[u8],
    behaviour: &Behaviour,
) -> Answer {
    let version = EndpointVersion::V2;
    let fields = match oauth2::fields(version, headers, body) {
        Ok(fields) => fields,
        Err(answer) => return *answer,
    };
    let client = Client::in_body(&fields);
    let granted = match oauth2::grant(state, &fields, &client, behaviour, version) {
        Ok(granted) => granted,
        Err(answer) => return *answer,
    };
    let mut body = oauth2::success_body(&granted);
    if granted.is_user {
        body["id_token"] = granted.token.into();
    }
    oauth2::success(&body, granted.generation, granted.client)
}
