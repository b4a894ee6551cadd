//! The API call that the token is tried on.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use runai_auth::{
    Auth, BoxError,
    tower_bearer::{self, ForeignText},
};
use serde_json::Value;
use tower::ServiceExt;

use super::within::within;
use crate::{
    clock::seconds_since_1970,
    failure::{Failure, OTHER, REFUSED, UNREACHABLE, client_error},
    flags::CheckArgs,
};

/// The call to try if the control plane does not know the probe: older ones have no access rules.
const OLDER_PROBE: &str = "/api/v1/clusters";

/// The most that is read of the answer.
const ANSWER_CAP: usize = 64 * 1024;

/// The control plane's answer to the call.
pub(super) struct Answer {
    pub(super) path: String,
    pub(super) status: StatusCode,
    /// How far this machine's clock is ahead of the control plane's, in seconds.
    pub(super) skew: Option<f64>,
    /// Its `message`.
    message: Option<ForeignText>,
}

/// Makes the call with the token.
pub(super) async fn probe(auth: &Auth, args: &CheckArgs) -> Result<Answer, Failure> {
    let limit = args.connect.timeout;
    let mut answer = call(auth, &args.probe, limit).await?;
    if answer.status == StatusCode::NOT_FOUND && args.probe != OLDER_PROBE {
        answer = call(auth, OLDER_PROBE, limit).await?;
    }
    accepted(answer)
}

/// Returns the answer if the API accepted the token.
fn accepted(answer: Answer) -> Result<Answer, Failure> {
    let path = &answer.path;
    let status = answer.status.as_u16();
    let message = answer.message.as_ref();
    let said = message.map_or_else(String::new, |message| format!(", {message}"));
    match status {
        200..=299 => Ok(answer),
        401 => Err(Failure::new(
            REFUSED,
            format!("{path} rejected the token that was just issued (401{said})"),
            "Check the clocks of this machine and of the control plane, and that the credentials belong to \
             the control plane at this URL",
        )),
        403 => Err(Failure::new(
            REFUSED,
            format!("the token is valid, but {path} is not allowed to it (403{said})"),
            "Assign an access rule (a role and a scope) to the application: Settings & Tools → \
             Applications, or Access rules; it takes effect at once",
        )),
        500..=599 | 408 | 429 => Err(Failure::new(
            UNREACHABLE,
            format!("{path} cannot answer at present ({status}{said})"),
            "Try again later",
        )),
        _ => Err(Failure::new(
            OTHER,
            format!("{path} answered {status}{said}"),
            "Check that the URL is the control plane's own, or name another call with --probe",
        )),
    }
}

async fn call(auth: &Auth, path: &str, limit: Duration) -> Result<Answer, Failure> {
    let request = Request::get(auth.url(path)?)
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(Failure::other)?;
    let api = auth.client()?;
    let sent_at = seconds_since_1970();
    let response = within(2 * limit, api.oneshot(request))
        .await?
        .map_err(|error| unanswered(auth, path, error))?;
    let now = f64::midpoint(sent_at, seconds_since_1970());
    let skew = date(response.headers()).map(|date| now - date);
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_CAP).collect();
    let body = within(limit, body)
        .await?
        .map_or_else(|_| Bytes::new(), |it| it.to_bytes());
    Ok(Answer {
        path: path.to_owned(),
        status,
        skew,
        message: message(auth, &body),
    })
}

fn unanswered(auth: &Auth, path: &str, error: BoxError) -> Failure {
    match error.downcast::<tower_bearer::Error>() {
        Ok(error) => Failure::from(*error),
        Err(error) => Failure::new(
            UNREACHABLE,
            format!("the call to {path} failed: {}", client_error(auth, &*error)),
            "Try again; if it persists, check the network between here and the control plane",
        ),
    }
}

/// Returns the answer's `Date`, as Unix time.
fn date(headers: &HeaderMap) -> Option<f64> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    let date = httpdate::parse_http_date(date).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}

/// Returns the `message` in the API's answer.
fn message(auth: &Auth, body: &[u8]) -> Option<ForeignText> {
    let answer = serde_json::from_slice::<Value>(body).ok()?;
    let message = answer.get("message")?.as_str()?;
    Some(auth.foreign_text(message))
}
