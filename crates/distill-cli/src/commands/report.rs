//! `distill report`: the report of a run, in the asked form.

use std::{fs, process::ExitCode};

use distill_runner::{Clock as _, SystemClock};

use super::run::{read_report, report_folder};
use crate::{
    arguments::{ReportArguments, ReportFormat},
    environment,
    failure::Failure,
};

pub(crate) fn execute(arguments: &ReportArguments) -> Result<ExitCode, Failure> {
    let home = environment::home()?;
    let run = distill_runner::find_run(&home, &arguments.run).map_err(|error| {
        Failure::bad_input(format!("there is no run `{}`", arguments.run))
            .caused_by(error)
            .hint("`distill runs` lists them")
    })?;
    let reading = distill_runner::read_run(&home, &run, SystemClock.now())
        .map_err(|error| Failure::failed(format!("run `{run}` cannot be read")).caused_by(error))?;
    let file = match arguments.format {
        ReportFormat::Text => {
            println!(
                "{}",
                distill_report::terminal(&read_report(&home, &reading.view)?)
            );
            return Ok(ExitCode::SUCCESS);
        }
        ReportFormat::Markdown => "report.md",
        ReportFormat::Json => "report.json",
        ReportFormat::Html => "report.html",
    };
    let path = report_folder(&home, &reading.view)?.join(file);
    let text = fs::read_to_string(&path).map_err(|error| {
        Failure::failed(format!("`{}` cannot be read", path.display())).caused_by(error)
    })?;
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}
