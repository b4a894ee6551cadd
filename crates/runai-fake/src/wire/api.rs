//! A small part of the API, on which tests try their tokens.

use bytes::Bytes;
use http::{Method, header, request};
use ring::digest;
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    behaviour::HTML,
    state::{AccessStatus, State},
};

const SUBMISSIONS: [&str; 4] = [
    "/api/v1/workloads/workspaces",
    "/api/v1/workloads/trainings",
    "/api/v1/workloads/distributed",
    "/api/v1/workloads/inferences",
];

const CLUSTER: &str = "71f69d83-ba66-4822-adf5-55ce55efd210";
const CREATED: &str = "2026-01-01T00:00:00Z";

/// Answers an API request, with the behaviour's answer if it has one. Both know whose token it was, for
/// the journal.
pub(crate) fn answer(
    state: &State,
    head: &request::Parts,
    body: &Bytes,
    configured: Option<Answer>,
) -> Answer {
    let bearer = head
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let access = state.lock().check(bearer);
    let (generation, client) = access.owner.unzip();
    let path = head.uri.path();
    let answer = match (configured, access.status) {
        (Some(configured), _) => configured,
        // Outside `/api/`, the UI answers every path.
        _ if !path.starts_with("/api/") => Answer::new(200, "text/html; charset=utf-8", HTML),
        (None, AccessStatus::Unauthenticated) => Answer::documented(401, false),
        (None, AccessStatus::Forbidden) => Answer::documented(403, false),
        (None, AccessStatus::Granted) => {
            granted(state, &head.method, path, body, client.as_deref())
        }
    };
    answer.owned_by(generation, client)
}

fn granted(
    state: &State,
    method: &Method,
    path: &str,
    body: &Bytes,
    client: Option<&str>,
) -> Answer {
    match (method, path) {
        (&Method::GET, "/api/v1/clusters") => Answer::json(200, &json!([cluster()])),
        (&Method::GET, "/api/v1/org-unit/projects") => {
            Answer::json(200, &json!({"projects": [project()]}))
        }
        (&Method::GET, "/api/v1/authorization/me/access-rules") => {
            Answer::json(200, &rules(state, client))
        }
        (&Method::GET, "/api/v1/workloads") => Answer::json(200, &json!({"workloads": []})),
        (&Method::POST, path) if SUBMISSIONS.contains(&path) => submission(body),
        _ => Answer::documented(404, false),
    }
}

/// Accepts a workload. The headers say what was received, so that a test can compare it.
fn submission(body: &Bytes) -> Answer {
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return Answer::documented(400, false);
    };
    let name = request["name"].as_str().unwrap_or("unnamed");
    let digest = digest::digest(&digest::SHA256, body);
    let hex: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let answer = json!({"workloadId": "0f2b6f0e-3c55-4c8e-9a60-2f8d1f6f1a11", "name": name});
    Answer::json(202, &answer)
        .header("x-received-sha256", hex)
        .header("x-received-bytes", body.len().to_string())
}

fn cluster() -> Value {
    json!({
        "uuid": CLUSTER,
        "tenantId": 1001,
        "name": "fake-cluster",
        "createdAt": CREATED,
        "domain": "cluster.example",
        "version": "2.24.0",
        "status": {"state": "Connected"},
        "updatedAt": CREATED,
        "lastLiveness": CREATED,
    })
}

fn project() -> Value {
    json!({
        "id": "4500001",
        "name": "fake-project",
        "description": "a project of the fake",
        "clusterId": CLUSTER,
        "parentId": "4500000",
        "requestedNamespace": "runai-fake-project",
        "enforceRunaiScheduler": true,
        "phase": "Ready",
        "status": {"namespace": "runai-fake-project", "phase": "Ready"},
        "totalResources": {"gpuQuota": 8.0},
        "createdAt": CREATED,
        "createdBy": "fake@example.com",
        "updatedAt": CREATED,
        "updatedBy": "fake@example.com",
        "effective": {},
        "resources": [{
            "nodePool": {"id": "100000", "name": "default"},
            "gpu": {"deserved": 8.0, "limit": null, "overQuotaWeight": 1.0},
        }],
    })
}

fn rules(state: &State, client: Option<&str>) -> Value {
    let is_user = client.is_some_and(|it| !state.lock().applications.contains(it));
    json!({"accessRules": {"totalRecords": 1, "displayRecords": 1, "accessRules": [{
        "id": 32,
        "tenantId": 1001,
        "subjectId": client,
        "subjectType": if is_user { "user" } else { "app" },
        "roleId": 1,
        "roleName": "System administrator",
        "scopeId": "1001",
        "scopeName": "fake-tenant",
        "scopeType": "tenant",
    }]}})
}
