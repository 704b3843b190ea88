//! `distill eval compare`: two files of records, nothing else.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use distill_eval::Settings;
use distill_steps::suite::compare_files;

use super::{EvalFormat, render};
use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  distill eval compare results/samples/small.jsonl results/samples/large.jsonl --scorer accuracy"
)]
pub(crate) struct CompareArguments {
    /// Records of the one, as `eval run` or a run's report writes them
    pub(crate) candidate: PathBuf,
    /// Records of the other, of the same rows
    pub(crate) baseline: PathBuf,
    /// Only this scorer
    #[arg(long)]
    pub(crate) scorer: Option<String>,
    /// Confidence of the intervals
    #[arg(long, default_value_t = 0.95)]
    pub(crate) confidence: f64,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 17)]
    pub(crate) seed: u64,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: EvalFormat,
}

pub(super) fn execute(arguments: &CompareArguments) -> Result<ExitCode, Failure> {
    if !(arguments.confidence > 0.0 && arguments.confidence < 1.0) {
        return Err(Failure::bad_input(format!(
            "`--confidence` is {}, and must be above 0 and below 1",
            arguments.confidence
        )));
    }
    let settings = Settings {
        confidence: arguments.confidence,
        seed: arguments.seed,
        ..Settings::default()
    };
    let found = compare_files(
        &arguments.candidate,
        &arguments.baseline,
        arguments.scorer.as_deref(),
        &settings,
    )?;
    match arguments.format {
        EvalFormat::Json => println!(
            "{}",
            serde_json::to_string_pretty(&found)
                .map_err(
                    |error| Failure::bug("the comparison does not serialise").caused_by(error)
                )?
        ),
        EvalFormat::Text => print!("{}", render::comparison(&found, false)),
        EvalFormat::Markdown => print!("{}", render::comparison(&found, true)),
    }
    Ok(ExitCode::SUCCESS)
}
