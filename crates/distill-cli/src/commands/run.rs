//! `distill run`: the main job.

use std::{env, path::Path, process::ExitCode};

use distill_eval::Decision;
use distill_pipeline::record::{RunOutcome, RunView, StepState};
use distill_report::RunReport;
use distill_runner::{About, Budget, Home, LocalExecutor, RunRequest};
use distill_steps::Steps;

use super::{interruption, load::Job};
use crate::{
    arguments::{CiFiles, Format, RunArguments},
    environment,
    failure::{Failure, exit},
    progress::{self, View},
};

pub(crate) async fn execute(arguments: &RunArguments) -> Result<ExitCode, Failure> {
    distill_student::ops::keep_freed_memory();
    let home = environment::home()?;
    let stop = interruption();
    let Some(job) = Job::load_with_models(&arguments.pipeline, &stop).await? else {
        return Ok(ExitCode::from(exit::INTERRUPTED));
    };
    job.compiled.check_people()?;
    job.compiled.check_trainings()?;
    let executor = LocalExecutor::new(Steps::new(
        home.path(),
        environment::with_prices(arguments.prices.as_deref()),
    ));
    let mut request = RunRequest::new(
        home.clone(),
        job.compiled.graph,
        executor,
        about(&job.name, &arguments.pipeline, job.text),
    );
    request.cancel = stop;
    request.observer = progress::observer(match arguments.format {
        Format::Json => View::Json,
        Format::Text if environment::is_terminal() => View::Bars,
        Format::Text => View::Lines,
    });
    if let Some(cores) = arguments.cores {
        request.budget = Budget {
            cpu: cores.max(1),
            ..Budget::default()
        };
    }
    let report = distill_runner::run(request).await.map_err(|error| {
        let hint = error.hint();
        let failure = Failure::failed("the run could not be kept").caused_by(error);
        hint.into_iter().fold(failure, Failure::hint)
    })?;
    match report.view.outcome {
        Some(RunOutcome::Done) => {}
        Some(RunOutcome::Interrupted) => {
            eprintln!(
                "interrupted: `distill run {}` goes on from here",
                arguments.pipeline.display()
            );
            return Ok(ExitCode::from(exit::INTERRUPTED));
        }
        _ => return Err(first_failure(&report.view)),
    }
    let document = read_report(&home, &report.view)?;
    let folder = report_folder(&home, &report.view)?;
    show(
        arguments,
        &document,
        &report.header.run.to_string(),
        &folder,
    );
    write_ci_files(&arguments.files, &document)?;
    let met = document.recommendation.verdict.decision.is_met();
    Ok(ExitCode::from(if arguments.gate && !met {
        exit::GATE
    } else {
        0
    }))
}

/// Writes the files that a CI system asked for.
pub(super) fn write_ci_files(files: &CiFiles, report: &RunReport) -> Result<(), Failure> {
    let wanted = [
        (
            &files.junit,
            distill_report::junit as fn(&RunReport) -> String,
        ),
        (&files.summary, distill_report::summary),
    ];
    for (path, render) in wanted {
        let Some(path) = path else { continue };
        std::fs::write(path, render(report)).map_err(|error| {
            Failure::failed(format!("`{}` cannot be written", path.display()))
                .caused_by(error)
                .hint("the folder must exist; the run itself is kept: `distill report --junit FILE` writes it later")
        })?;
    }
    Ok(())
}

fn about(pipeline: &str, path: &Path, text: String) -> About {
    About {
        pipeline: pipeline.to_owned(),
        spec_path: Some(path.display().to_string()),
        spec_text: Some(text),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        argv: env::args().collect(),
    }
}

/// The failure that the user must act on: the first step that failed.
fn first_failure(view: &RunView) -> Failure {
    let failed = view
        .steps
        .iter()
        .find(|step| step.state == StepState::Failed);
    match failed.and_then(|step| step.failure.clone().map(|failure| (&step.name, failure))) {
        Some((step, mut failure)) => {
            failure.message = format!("step `{step}`: {}", failure.message);
            failure.into()
        }
        None => Failure::bug("the run failed and no step says why"),
    }
}

/// Reads the report that the run made.
pub(super) fn read_report(home: &Home, view: &RunView) -> Result<RunReport, Failure> {
    let folder = report_folder(home, view)?;
    let path = folder.join("report.json");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::failed(format!("the report `{}` cannot be read", path.display())).caused_by(error)
    })?;
    distill_report::read(&text).map_err(|error| {
        Failure::failed(format!(
            "the report `{}` is not in the form that this version writes",
            path.display()
        ))
        .caused_by(error)
    })
}

/// The folder of the report that the run made.
pub(super) fn report_folder(home: &Home, view: &RunView) -> Result<std::path::PathBuf, Failure> {
    let output = view
        .steps
        .iter()
        .find(|step| step.name == distill_steps::REPORT_STEP)
        .and_then(|step| step.outputs.get("report"))
        .ok_or_else(|| {
            Failure::failed("this run has no report")
                .hint("`distill runs` shows how far each run came")
        })?;
    Ok(home.artifact(&output.hash))
}

fn show(arguments: &RunArguments, report: &RunReport, run: &str, folder: &Path) {
    if arguments.format == Format::Json {
        println!(
            "{}",
            serde_json::json!({"type": "report", "report": report})
        );
        return;
    }
    println!("{}", distill_report::terminal(report));
    eprintln!();
    eprintln!("report   {}", folder.join("report.html").display());
    let recommendation = &report.recommendation;
    match (&recommendation.choice, recommendation.verdict.decision) {
        (Some(student), Decision::Replace) => {
            eprintln!("release  distill deploy {run} --student {student}");
        }
        (Some(choice), Decision::Cascade { .. }) => eprintln!(
            "release  {choice} is a cascade: `distill deploy` releases a student that answers alone"
        ),
        (Some(choice), Decision::CheaperApi) => eprintln!(
            "release  {choice} is a hosted model: change the model that your program asks"
        ),
        _ => eprintln!("release  nothing is recommended: {}", recommendation.reason),
    }
    eprintln!("next     distill init your.csv");
}
