//! `distill explain`: why a step would run or be taken from the cache.

use std::process::ExitCode;

use super::load::Job;
use crate::{
    arguments::{ExplainArguments, Format},
    environment,
    failure::Failure,
};

pub(crate) fn execute(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    let home = environment::home()?;
    let job = Job::load(&arguments.pipeline)?;
    let explanation =
        distill_runner::explain(&home, &job.compiled.graph, &job.name, &arguments.step).map_err(
            |error| {
                let names: Vec<&str> = job
                    .compiled
                    .graph
                    .steps()
                    .map(|step| step.name.as_str())
                    .collect();
                Failure::bad_input(format!("step `{}` cannot be explained", arguments.step))
                    .caused_by(error)
                    .hint(format!("the steps are {}", names.join(", ")))
            },
        )?;
    match arguments.format {
        Format::Text => println!("{explanation}"),
        Format::Json => println!(
            "{}",
            serde_json::to_string_pretty(&explanation).expect("an explanation serialises")
        ),
    }
    Ok(ExitCode::SUCCESS)
}
