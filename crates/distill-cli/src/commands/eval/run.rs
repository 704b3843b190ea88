//! `distill eval run`: answers, scores, compares, keeps the evidence.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use distill_pipeline::{
    hash::ContentHash,
    record::RunId,
    spec::{ModelSpec, suite::RecordedAnswers},
};
use distill_runner::{Clock as _, StepContext, StepEvent, SystemClock};
use distill_steps::{
    suite::{
        Answerer, Requirement, Suite, Summary, bundle_of_run, check_answerers, check_folder,
        file_name, model_named, parse_suite, write_results,
    },
    teacher::Teachers,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{EvalFormat, junit, render};
use crate::{
    commands::{check, interruption, recorded::reading},
    environment,
    failure::{Failure, exit},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  distill eval run evals/quickstart.yaml\n  distill eval run suite.yaml --model openai/gpt-5-mini --bundle latest:linear --budget 1\n  distill eval run suite.yaml --answers old=answers.jsonl:reply --require 'accuracy>=0.9'\n\nExit codes: 0 done, 1 a step failed, 2 bad command line, suite or data,\n3 done but a requirement is not met, 130 interrupted (run again: what was paid for is kept)."
)]
pub(crate) struct RunArguments {
    /// The suite file
    pub(crate) suite: PathBuf,
    /// Ask a model, too: `vendor/model`
    #[arg(long, value_name = "VENDOR/MODEL")]
    pub(crate) model: Vec<String>,
    /// Ask a student, too: its directory, or `RUN:STUDENT`
    #[arg(long, value_name = "[NAME=]DIR|RUN:STUDENT")]
    pub(crate) bundle: Vec<String>,
    /// Score recorded answers, too
    #[arg(long, value_name = "NAME=FILE:COLUMN")]
    pub(crate) answers: Vec<String>,
    /// Most that all models may cost together in US dollars, in place of the suite's `budget_usd`
    #[arg(long, value_name = "USD")]
    pub(crate) budget: Option<f64>,
    /// Take the first so many rows of a seeded shuffle, in place of the suite's `limit`
    #[arg(long, value_name = "ROWS")]
    pub(crate) limit: Option<usize>,
    /// End with exit code 3 unless the interval lies on the right side: `[ANSWERER:]SCORER>=0.8`
    #[arg(long, value_name = "REQUIREMENT")]
    pub(crate) require: Vec<Requirement>,
    /// Folder for the records and the summary [default: in `.distill/evals`, named by suite and content]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Write the requirements as test cases in the XML that CI systems read, too
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: EvalFormat,
}

pub(super) async fn execute(arguments: &RunArguments) -> Result<ExitCode, Failure> {
    let suite = open(arguments)?;
    let answerers = answerers(arguments, &suite)?;
    check_answerers(&answerers)?;
    suite.check_judge(&answerers)?;
    let names: Vec<String> = answerers.iter().map(Answerer::name).collect();
    for requirement in &arguments.require {
        requirement.check(&names, &suite.scorer_names())?;
    }
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| usual_folder(&suite, &answerers));
    check_folder(&out)?;
    let models: Vec<ModelSpec> = answerers
        .iter()
        .filter_map(|answerer| match answerer {
            Answerer::Model(model) => Some(model.clone()),
            _ => None,
        })
        .collect();
    if !models.is_empty() || suite.spec.judge.is_some() {
        // The journal keeps what is paid for.
        environment::home()?;
    }
    let teachers = Teachers::new(&environment::home_path(), environment::reader());
    let cancel = interruption();
    let mut answers = Vec::new();
    for answerer in &answerers {
        let (context, bar) = context(&answerer.name(), &cancel);
        let answered = suite.answer(answerer, &models, &teachers, &context).await;
        bar.finish_and_clear();
        answers.push(answered?);
    }
    let (context, _bar) = context("scoring", &cancel);
    let mut summary = suite
        .summarise(&mut answers, env!("CARGO_PKG_VERSION"), &teachers, &context)
        .await?;
    let met = summary.require(&arguments.require)?;
    let path = write_results(&out, &summary, &answers)?;
    if let Some(file) = &arguments.junit {
        fs::write(file, junit::junit(&summary)).map_err(|error| {
            Failure::failed(format!("`{}` cannot be written", file.display())).caused_by(error)
        })?;
    }
    show(arguments.format, &summary)?;
    eprintln!("results  {}", path.display());
    Ok(ExitCode::from(if met { 0 } else { exit::GATE }))
}

fn open(arguments: &RunArguments) -> Result<Suite, Failure> {
    let path = &arguments.suite;
    let text = environment::read_text(path).map_err(|error| {
        Failure::bad_input(format!("the suite `{}` cannot be read", path.display()))
            .caused_by(error)
            .hint("evals/quickstart.yaml is an example")
    })?;
    let mut spec = parse_suite(&path.display().to_string(), &text)
        .map_err(|findings| Failure::findings(check::render(&findings)))?;
    if let Some(budget) = arguments.budget {
        if !(budget.is_finite() && budget > 0.0) {
            return Err(Failure::bad_input(format!(
                "`--budget` is {budget}, and must be above 0"
            )));
        }
        spec.budget_usd = Some(budget);
    }
    if let Some(limit) = arguments.limit {
        if limit == 0 {
            return Err(Failure::bad_input("`--limit` is 0, and must be at least 1"));
        }
        spec.limit = Some(limit);
    }
    let data_dir = environment::reader()("DISTILL_DATA_DIR").map(PathBuf::from);
    Ok(Suite::open(
        spec,
        path,
        &environment::home_path(),
        data_dir,
    )?)
}

/// The suite's own answerers, then those of the command line.
fn answerers(arguments: &RunArguments, suite: &Suite) -> Result<Vec<Answerer>, Failure> {
    let mut answerers = suite.answerers();
    for text in &arguments.answers {
        answerers.push(recorded(text)?);
    }
    for name in &arguments.model {
        answerers.push(Answerer::Model(model_named(name)?));
    }
    for text in &arguments.bundle {
        answerers.push(bundle(text)?);
    }
    Ok(answerers)
}

/// `NAME=FILE:COLUMN`.
fn recorded(text: &str) -> Result<Answerer, Failure> {
    let parts = text.split_once('=').and_then(|(name, rest)| {
        let (file, column) = rest.rsplit_once(':')?;
        (!name.is_empty() && !file.is_empty() && !column.is_empty()).then_some((name, file, column))
    });
    let Some((name, file, column)) = parts else {
        return Err(
            Failure::bad_input(format!("`--answers {text}` does not say what to read"))
                .hint("write `--answers NAME=FILE:COLUMN`, for instance `old=answers.jsonl:reply`"),
        );
    };
    let file = std::path::absolute(file)
        .map_err(|error| Failure::failed("the current folder is gone").caused_by(error))?;
    Ok(Answerer::Recorded(RecordedAnswers {
        name: name.to_owned(),
        column: column.to_owned(),
        file: Some(file.display().to_string()),
        check: None,
    }))
}

/// `[NAME=]DIR` or `[NAME=]RUN:STUDENT`.
fn bundle(text: &str) -> Result<Answerer, Failure> {
    let (name, place) = match text.split_once('=') {
        Some((name, place)) if !name.is_empty() => (Some(name.to_owned()), place),
        _ => (None, text),
    };
    let folder = Path::new(place);
    if folder.is_dir() {
        let usual = folder.file_name().map_or_else(
            || "bundle".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        return Ok(Answerer::Bundle {
            name: name.unwrap_or(usual),
            folder: folder.to_owned(),
        });
    }
    let Some((run, student)) = place.rsplit_once(':') else {
        return Err(
            Failure::bad_input(format!("there is no bundle `{place}`")).hint(
                "give a student's directory, or `RUN:STUDENT` such as `latest:linear`; `distill runs` lists the runs",
            ),
        );
    };
    let home = environment::home()?;
    let reading = reading(&home, run)?;
    Ok(Answerer::Bundle {
        name: name.unwrap_or_else(|| student.to_owned()),
        folder: bundle_of_run(&home, &reading.view, student)?,
    })
}

/// A folder that the same suite, rows and answerers find again.
fn usual_folder(suite: &Suite, answerers: &[Answerer]) -> PathBuf {
    let identity = ContentHash::of_json(&json!({
        "suite": suite.spec,
        "rows": suite.rows_hash.to_string(),
        "answerers": answerers.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>(),
    }));
    environment::home_path().join("evals").join(format!(
        "{}-{}",
        file_name(&suite.spec.name),
        identity.short()
    ))
}

/// The way from the work to this terminal.
fn context(name: &str, cancel: &tokio_util::sync::CancellationToken) -> (StepContext, ProgressBar) {
    let bar = if environment::is_terminal() {
        ProgressBar::new(0)
    } else {
        ProgressBar::hidden()
    };
    bar.set_style(
        ProgressStyle::with_template("{msg:24} {bar:30} {pos}/{len}")
            .expect("the template is well formed"),
    );
    bar.set_message(name.to_owned());
    let shown = bar.clone();
    let sink = Arc::new(move |event: StepEvent| match event {
        StepEvent::Progress { done, total, .. } => {
            shown.set_length(total.unwrap_or(done));
            shown.set_position(done);
        }
        StepEvent::Note { text, .. } => shown.println(text),
        StepEvent::Metric { .. } => {}
    });
    let run = RunId::new(SystemClock.now(), 0);
    (StepContext::new(run, "eval", cancel.clone(), sink), bar)
}

fn show(format: EvalFormat, summary: &Summary) -> Result<(), Failure> {
    match format {
        EvalFormat::Text => print!("{}", render::text(summary)),
        EvalFormat::Markdown => print!("{}", render::markdown(summary)),
        EvalFormat::Json => println!(
            "{}",
            serde_json::to_string_pretty(summary)
                .map_err(|error| Failure::bug("the summary does not serialise").caused_by(error))?
        ),
    }
    Ok(())
}
