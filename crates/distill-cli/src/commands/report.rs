//! `distill report`: the report of a run, or one made again from its evidence, in the asked form.

use std::{path::Path, process::ExitCode};

use distill_report::RunReport;
use distill_steps::write_report;

use super::{
    recorded::reading,
    run::{read_report, report_folder, write_ci_files},
};
use crate::{
    arguments::{ReportArguments, ReportFormat},
    environment,
    failure::Failure,
};

pub(crate) fn execute(arguments: &ReportArguments) -> Result<ExitCode, Failure> {
    if let Some(folder) = &arguments.from {
        let report = write_report::regenerate(folder)?;
        write_ci_files(&arguments.files, &report)?;
        return show(arguments, &report);
    }
    let home = environment::home()?;
    let reading = reading(&home, &arguments.run)?;
    let folder = report_folder(&home, &reading.view)?;
    let report = read_report(&home, &reading.view)?;
    write_ci_files(&arguments.files, &report)?;
    if let Some(to) = &arguments.samples {
        write_report::export(&folder, to)?;
        println!("{}", to.display());
        eprintln!("next     distill report --from {}", to.display());
        return Ok(ExitCode::SUCCESS);
    }
    let format = form(arguments.format);
    let path = folder.join(format.file);
    if path.is_file() {
        print!("{}", read(&path)?);
        return Ok(ExitCode::SUCCESS);
    }
    // A form that the version which made the run did not write.
    show(arguments, &report)
}

fn show(arguments: &ReportArguments, report: &RunReport) -> Result<ExitCode, Failure> {
    let text = (form(arguments.format).render)(report);
    match &arguments.out {
        None => print!("{text}"),
        Some(folder) => {
            write_report::write_forms(report, folder)?;
            println!("{}", folder.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The report's own name of a form.
fn form(format: ReportFormat) -> &'static distill_report::Format {
    let name = match format {
        ReportFormat::Text => "terminal",
        ReportFormat::Markdown => "markdown",
        ReportFormat::Json => "json",
        ReportFormat::Html => "html",
        ReportFormat::Junit => "junit",
        ReportFormat::Summary => "summary",
    };
    distill_report::FORMATS
        .iter()
        .find(|format| format.name == name)
        .expect("every form that can be asked for is one of the report's")
}

fn read(path: &Path) -> Result<String, Failure> {
    environment::read_text(path).map_err(|error| {
        Failure::failed(format!("`{}` cannot be read", path.display())).caused_by(error)
    })
}
