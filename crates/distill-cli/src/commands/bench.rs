//! `distill bench`: measures speed on this machine.

use std::process::ExitCode;

use distill_student::{base::BaseResolver as _, embedded};
use distill_train::bench::{BenchSettings, bench};
use serde_json::json;

use crate::{
    arguments::{BenchArguments, BenchSubject, Format},
    failure::Failure,
};

/// Rows like those of a narrow job: a prompt of some 80 tokens, a short reply.
const SETTINGS: BenchSettings = BenchSettings {
    batch_tokens: 4096,
    row_tokens: 96,
    target_tokens: 12,
    steps: 8,
    rank: 16,
};

pub(crate) fn execute(arguments: &BenchArguments) -> Result<ExitCode, Failure> {
    let BenchSubject::Train = arguments.what;
    let base = embedded::bases()
        .resolve("embedded:nano")
        .map_err(|error| Failure::bug("the embedded model cannot be loaded").caused_by(error))?;
    let figures = bench(base.weights.config(), &SETTINGS)
        .map_err(|error| Failure::failed("the bench stopped").caused_by(error))?;
    match arguments.format {
        Format::Text => {
            println!(
                "shape of nano, {} parameters, {} threads",
                figures.parameters, figures.threads
            );
            println!(
                "{} tokens a step, rows of {}",
                SETTINGS.batch_tokens, SETTINGS.row_tokens
            );
            println!(
                "all weights   {:8.0} tokens/s",
                figures.full_tokens_per_second
            );
            println!(
                "LoRA rank {}  {:8.0} tokens/s",
                SETTINGS.rank, figures.lora_tokens_per_second
            );
        }
        Format::Json => println!(
            "{}",
            json!({
                "parameters": figures.parameters,
                "threads": figures.threads,
                "full_tokens_per_second": figures.full_tokens_per_second,
                "lora_tokens_per_second": figures.lora_tokens_per_second,
            })
        ),
    }
    Ok(ExitCode::SUCCESS)
}
