//! `distill proxy check`: what the routes of a configuration will do. Asks nobody.

use std::process::ExitCode;

use distill_proxy::{
    config::Day,
    route::{RouteTable, Surroundings, plans},
};
use distill_steps::prices;

use super::{config_path, load};
use crate::{
    arguments::{Format, ProxyCheckArguments},
    failure::Failure,
};

pub(super) fn execute(arguments: &ProxyCheckArguments) -> Result<ExitCode, Failure> {
    let path = config_path(arguments.config.as_deref());
    let config = load(&path)?;
    let routes = RouteTable::build(
        &config,
        &Surroundings {
            // What is started with the proxy gets its address then.
            addresses: &|_| Some("http://127.0.0.1:9/v1".to_owned()),
            prices: &config.prices,
            today: Day(prices::today()),
        },
        None,
    )
    .map_err(|error| {
        Failure::bad_input(format!("the routes of {} cannot be made", path.display()))
            .caused_by(error)
    })?;
    let plans = plans(&routes);
    if arguments.format == Format::Json {
        let text = serde_json::to_string_pretty(&plans)
            .map_err(|error| Failure::failed("writing the plans").caused_by(error))?;
        println!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    for plan in &plans {
        println!("{plan}");
    }
    for task in &config.tasks {
        println!("task {} → {}", task.name, task.route);
    }
    for note in &config.notes {
        println!("note: {note}");
    }
    Ok(ExitCode::SUCCESS)
}
