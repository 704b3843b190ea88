//! `distill check`: looks for mistakes in a pipeline and its data, and spends nothing.

use std::{collections::BTreeSet, process::ExitCode};

use distill_pipeline::spec::Findings;
use serde_json::json;

use super::load::Job;
use crate::{
    arguments::{Format, PipelineArguments},
    environment,
    failure::Failure,
};

pub(crate) async fn execute(arguments: &PipelineArguments) -> Result<ExitCode, Failure> {
    let job = Job::load(&arguments.pipeline)?;
    let facts = job.compiled.inspect().map_err(Failure::from)?;
    job.compiled.check_people()?;
    let environment = environment::with_prices(arguments.prices.as_deref());
    job.compiled.check_models(&environment)?;
    let estimate = job
        .compiled
        .estimate(&environment::home_path(), environment, &BTreeSet::new())
        .await?;
    if arguments.format == Format::Json {
        println!(
            "{}",
            serde_json::to_string_pretty(
                &json!({"pipeline": job.name, "facts": facts, "estimate": estimate})
            )
            .expect("facts serialise")
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} is in order", arguments.pipeline.display());
    println!("  training rows   {}", facts.train_rows);
    println!(
        "  test rows       {} ({})",
        facts.test_rows,
        if facts.gold {
            "with human answers"
        } else {
            "no human answers: agreement with the teacher"
        }
    );
    if let Some(labels) = facts.labels {
        println!("  labels          {labels}");
    }
    println!("  arms            {}", facts.arms.join(", "));
    for line in facts.advice {
        println!("  note            {line}");
    }
    if let Some(estimate) = estimate {
        println!();
        print!("{}", super::forecast::render(&estimate));
    }
    Ok(ExitCode::SUCCESS)
}

/// Findings as the user meets them: all at once, each with its place in the file.
pub(super) fn render(findings: &Findings) -> String {
    let mut text = String::new();
    let handler = miette::GraphicalReportHandler::new_themed(if console_has_colour() {
        miette::GraphicalTheme::unicode()
    } else {
        miette::GraphicalTheme::unicode_nocolor()
    });
    if handler.render_report(&mut text, findings).is_err() {
        return findings.to_text();
    }
    text
}

fn console_has_colour() -> bool {
    crate::environment::is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
