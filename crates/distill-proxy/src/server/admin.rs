//! `/admin`: for whoever runs the proxy.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::{Method, Response, StatusCode, request::Parts},
};
use distill_ledger::Caller;
use distill_wire::ErrorKind;
use serde_json::{Value, json};

use super::{Shared, live::Live, service::json_response};
use crate::problem::Problem;

/// Answers an admin.
///
/// # Errors
/// A [`Problem`].
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    caller: &Caller,
    parts: &Parts,
    path: &str,
    body: &Bytes,
) -> Result<Response<Body>, Problem> {
    let _ = (caller, body);
    match (&parts.method, path) {
        (&Method::POST, "reload") => Ok(reload(shared).await),
        (&Method::GET, "config") => Ok(json_response(&configuration(&shared.live()))),
        _ => Err(Problem::new(
            ErrorKind::NotFound,
            "there is nothing at this path; GET /openapi.json lists what there is",
        )
        .code("unknown_path")),
    }
}

async fn reload(shared: &Shared) -> Response<Body> {
    match shared.reload().await {
        Ok(reloaded) => json_response(&json!({
            "taken": true,
            "config": reloaded.digest,
            "changed": reloaded.changed,
            "needs_restart": reloaded.needs_restart,
        })),
        Err(findings) => {
            let mut response = json_response(&json!({
                "taken": false,
                "config": shared.live().config.digest,
                "findings": findings,
            }));
            *response.status_mut() = StatusCode::CONFLICT;
            response
        }
    }
}

/// Names only: what a configuration holds of addresses and keys stays there.
fn configuration(live: &Live) -> Value {
    let config = &live.config;
    json!({
        "name": config.name,
        "config": config.digest,
        "passthrough": config.passthrough,
        "routes": config.routes.iter().map(|route| json!({
            "name": route.name,
            "members": route.members.iter().map(|member| &member.target).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "tasks": config.tasks.iter().map(|task| json!({
            "name": task.name,
            "active": task.active,
            "versions": task.versions.iter().map(|version| &version.version).collect::<Vec<_>>(),
            "route": task.route,
        })).collect::<Vec<_>>(),
        "targets": live.targets().iter().map(|target| json!({
            "target": target.target,
            "state": target.state,
        })).collect::<Vec<_>>(),
        "notes": config.notes,
    })
}
