//! `distill plan`: the steps, what is cached, and the estimated spend. Spends nothing.

use std::{collections::BTreeSet, process::ExitCode};

use distill_pipeline::plan::{PlanState, PlannedStep};
use serde_json::json;

use super::load::Job;
use crate::{
    arguments::{Format, PipelineArguments},
    environment,
    failure::Failure,
};

pub(crate) async fn execute(arguments: &PipelineArguments) -> Result<ExitCode, Failure> {
    let home = environment::home()?;
    let job = Job::load(&arguments.pipeline)?;
    job.compiled.check_people()?;
    job.compiled.check_trainings()?;
    let plan = distill_runner::plan(&home, &job.compiled.graph)
        .map_err(|error| Failure::failed("the cache cannot be read").caused_by(error))?;
    let facts = job.compiled.inspect().map_err(Failure::from)?;
    let environment = environment::with_prices(arguments.prices.as_deref());
    job.compiled.check_prices(&environment)?;
    let cached: BTreeSet<String> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.state, PlanState::Hit { .. }))
        .map(|step| step.name.clone())
        .collect();
    let estimate = job
        .compiled
        .estimate(home.path(), environment, &cached)
        .await
        .map_err(Failure::from)?;
    if arguments.format == Format::Json {
        let document = json!({"pipeline": job.name, "steps": plan.steps, "estimate": estimate, "facts": facts});
        println!(
            "{}",
            serde_json::to_string_pretty(&document).expect("a plan serialises")
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:24} {:10} state", "step", "kind");
    for step in &plan.steps {
        println!("{:24} {:10} {}", step.name, step.kind, state(step));
    }
    if let Some(estimate) = estimate {
        println!();
        print!("{}", super::forecast::render(&estimate));
    }
    println!();
    for line in facts.advice {
        println!("note        {line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn state(step: &PlannedStep) -> String {
    match &step.state {
        PlanState::Hit { made_by, .. } => format!("cached, made by {made_by}"),
        PlanState::Miss { because, .. } => format!("will run: {because}"),
        PlanState::Unknown { waits_for } => format!("known when {} ran", waits_for.join(", ")),
    }
}
