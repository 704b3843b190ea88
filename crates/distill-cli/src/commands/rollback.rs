//! `distill rollback`: takes the answering release of a route back.

use std::process::ExitCode;

use distill_serve::Registry;
use serde_json::json;

use crate::{
    arguments::{Format, RollbackArguments},
    environment,
    failure::Failure,
};

pub(crate) fn execute(arguments: &RollbackArguments) -> Result<ExitCode, Failure> {
    let registry = registry();
    let route = match &arguments.route {
        Some(route) => route.clone(),
        None => only_route(&registry)?,
    };
    let (taken, now) = registry.rollback(&route).map_err(|error| {
        Failure::failed(format!("route `{route}` was not rolled back"))
            .caused_by(error)
            .hint("`distill deploy RUN` makes a release")
    })?;
    if arguments.format == Format::Json {
        println!(
            "{}",
            json!({"route": route, "taken_back": taken, "answers_now": now})
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "route {route}: release {} ({} of run {}) is taken back",
        taken.id, taken.student, taken.run
    );
    match now {
        Some(now) => println!(
            "release {} ({} of run {}) answers again",
            now.id, now.student, now.run
        ),
        None => println!(
            "nothing is released on it now: callers get 404 until the next `distill deploy`"
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// The releases of this state folder.
pub(super) fn registry() -> Registry {
    Registry::new(environment::home_path().join("releases"))
}

fn only_route(registry: &Registry) -> Result<String, Failure> {
    let routes = registry
        .routes()
        .map_err(|error| Failure::failed("the releases cannot be read").caused_by(error))?;
    let live: Vec<&str> = routes
        .iter()
        .filter(|route| route.current().is_some())
        .map(|route| route.name.as_str())
        .collect();
    match live[..] {
        [one] => Ok(one.to_owned()),
        [] => {
            Err(Failure::bad_input("nothing is released")
                .hint("`distill deploy RUN` makes a release"))
        }
        _ => Err(Failure::bad_input("there are several routes")
            .hint(format!("name one of {}", live.join(", ")))),
    }
}
