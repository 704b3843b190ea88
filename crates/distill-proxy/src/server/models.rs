//! `GET /v1/models`: what a caller may name.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderMap, Response},
};
use distill_ledger::Caller;
use distill_pipeline::spec::document::nearest;
use distill_wire::ErrorKind;
use serde_json::{Value, json};

use super::{live::Live, permission, service::json_response};
use crate::{config::is_allowed, problem::Problem, route::Route};

/// Models have no date of making here; clients want a number.
const CREATED: u64 = 0;
const CREATED_AT: &str = "1970-01-01T00:00:00Z";

/// The names that a caller may use: routes, then tasks.
pub(crate) fn names(live: &Live, caller: &Caller) -> Vec<String> {
    let routes = live
        .named()
        // A name that stands for many is none that can be asked.
        .filter(|route| !route.name.ends_with('*') && is_allowed(&route.allow, caller))
        .map(|route| route.name.clone());
    let tasks = live
        .config
        .tasks
        .iter()
        .filter(|task| is_allowed(&task.policy.allow, caller))
        .map(|task| format!("task/{}", task.name));
    routes
        .chain(tasks)
        .filter(|name| permission::may_name(caller, name))
        .collect()
}

pub(crate) fn list(live: &Live, caller: &Caller, headers: &HeaderMap) -> Response<Body> {
    let names = names(live, caller);
    let anthropic = is_anthropic(headers);
    let data: Vec<_> = names.iter().map(|name| model(name, anthropic)).collect();
    json_response(&if anthropic {
        json!({
            "data": data,
            "has_more": false,
            "first_id": names.first(),
            "last_id": names.last(),
        })
    } else {
        json!({"object": "list", "data": data})
    })
}

/// The route of a name: its own, or one whose name stands for all that begin like it.
pub(crate) fn find(live: &Live, name: &str) -> Option<Arc<Route>> {
    let named = live
        .config
        .route_for(name)
        .map_or(name, |route| &route.name);
    live.routes.find(named)
}

/// # Errors
/// A [`Problem`] with status 404 where the caller may not name it, whether it is there or not.
pub(crate) fn one(
    live: &Live,
    caller: &Caller,
    headers: &HeaderMap,
    name: &str,
) -> Result<Response<Body>, Problem> {
    let known = names(live, caller).iter().any(|known| known == name)
        || find(live, name)
            .is_some_and(|route| permission::require(caller, name, &route.config().allow).is_ok());
    if known {
        Ok(json_response(&model(name, is_anthropic(headers))))
    } else {
        Err(unknown(live, caller, name))
    }
}

/// Says that a name is not known, and which one may have been meant.
pub(crate) fn unknown(live: &Live, caller: &Caller, name: &str) -> Problem {
    let names = names(live, caller);
    // What a caller sends may be long; what it is told need not be.
    let shown: String = name.chars().take(100).collect();
    let near = nearest(&shown, names.iter().map(String::as_str));
    let hint = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "GET /v1/models lists what this key may ask".to_owned(),
    };
    Problem::new(
        ErrorKind::NotFound,
        format!("there is no model `{shown}` here; {hint}"),
    )
    .code("model_not_found")
    .param("model")
}

fn is_anthropic(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

fn model(name: &str, anthropic: bool) -> Value {
    if anthropic {
        json!({"type": "model", "id": name, "display_name": name, "created_at": CREATED_AT})
    } else {
        json!({"id": name, "object": "model", "created": CREATED, "owned_by": "distill"})
    }
}
