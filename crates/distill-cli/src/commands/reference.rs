//! `distill reference`: every key of a pipeline. Reads nothing.

use std::process::ExitCode;

use clap::Args;
use distill_pipeline::spec::{reference, reference_of_part};

use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  distill reference\n  distill reference train.decoder\n  distill reference train.objective"
)]
pub(crate) struct ReferenceArguments {
    /// A section, and those below it [default: all]
    pub(crate) section: Option<String>,
}

pub(crate) fn execute(arguments: &ReferenceArguments) -> Result<ExitCode, Failure> {
    let text = match &arguments.section {
        None => reference(),
        Some(section) => reference_of_part(section).ok_or_else(|| {
            Failure::bad_input(format!("a pipeline has no section `{section}`")).hint(
                "`distill reference` shows all; a section is named by its path, `train.decoder`",
            )
        })?,
    };
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}
