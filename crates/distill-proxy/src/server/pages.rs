//! The pages under `/ui` as part of the server.

use std::sync::{Arc, Weak, atomic::Ordering};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Request, Response, request::Parts},
};
use distill_gateway::Target;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::{Shared, live::Live};
use crate::{
    route::Route,
    ui::{self, Pages, TargetView},
};

/// Largest body that a page's form sends.
pub(super) const LARGEST_FORM: u64 = 16 * 1024;

/// Answers a request for a page.
pub(super) async fn answer(shared: &Arc<Shared>, parts: Parts, body: Bytes) -> Response<Body> {
    let router = shared.pages.get_or_init(|| router(shared)).clone();
    let request = Request::from_parts(parts, Body::from(body));
    match TowerToHyperService::new(router).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn router(shared: &Arc<Shared>) -> Router {
    // Pages live as long as the server and must not keep it alive.
    let of = |shared: &Arc<Shared>| -> Weak<Shared> { Arc::downgrade(shared) };
    let (targets, stop_for, admin_key, stopping) = (of(shared), of(shared), of(shared), of(shared));
    ui::router(Pages {
        ledger: shared.ledger.clone(),
        targets: Arc::new(move || {
            targets
                .upgrade()
                .map(|shared| target_views(&shared.live()))
                .unwrap_or_default()
        }),
        alerts: Arc::new(Vec::new),
        stop_for: Arc::new(move || stop_for.upgrade()?.live().config.spend.stop_for),
        admin_key: Arc::new(move || {
            admin_key
                .upgrade()
                .is_some_and(|shared| shared.live().config.admin_key.is_some())
        }),
        stopping: Arc::new(move || {
            stopping
                .upgrade()
                .is_none_or(|shared| shared.stopping.load(Ordering::Relaxed))
        }),
    })
}

/// Every target with its health, the routes that lead to it, and what else is to be said of it.
fn target_views(live: &Live) -> Vec<TargetView> {
    let now = tokio::time::Instant::now();
    let mut views: Vec<TargetView> = live
        .routes
        .targets()
        .map(|target| TargetView {
            target: target.name().to_owned(),
            routes: routes_of(live, target.name())
                .map(|route| route.name().to_owned())
                .collect(),
            simulated: is_simulated(target.target()),
            health: target.health().snapshot(now),
            notes: notes(live, target.name()),
        })
        .collect();
    views.sort_by(|one, other| one.target.cmp(&other.target));
    views
}

fn is_simulated(target: &Target) -> bool {
    target.vendor().simulated
}

fn routes_of<'a>(live: &'a Live, target: &'a str) -> impl Iterator<Item = &'a Arc<Route>> {
    live.routes.routes().filter(move |route| {
        route
            .members()
            .iter()
            .any(|member| member.live().name() == target)
    })
}

fn notes(live: &Live, target: &str) -> Vec<String> {
    let mut notes = Vec::new();
    for route in routes_of(live, target) {
        let demoted =
            |member: &crate::route::Member| member.live().name() == target && member.is_demoted();
        if route.members().iter().any(demoted) {
            notes.push(format!("asked last on {}: its quality", route.name()));
        }
        let sunset = route
            .config()
            .members
            .iter()
            .filter(|member| member.target == target)
            .find_map(|member| member.sunset);
        if let Some(day) = sunset {
            notes.push(format!("until {day} on {}", route.name()));
        }
    }
    notes
}
