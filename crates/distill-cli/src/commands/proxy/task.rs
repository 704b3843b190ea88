//! `distill proxy task`: which version of a task answers.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use distill_ledger::Clock;
use distill_proxy::{
    config::{Config, TaskConfig},
    task::{Release, ReleaseError, TaskReleases, Tasks},
};
use serde_json::json;

use super::{config_path, look_at};
use crate::{arguments::Format, environment, failure::Failure};

#[derive(Debug, Args)]
#[command(
    after_help = "A proxy that runs takes a change within a second; nothing in an application changes.\n\nCompare two versions before a release: ask both for the rows of a suite through the proxy, by\n`models: [{vendor: vllm, model: task/NAME@VERSION, base_url: http://127.0.0.1:4000/v1, api_key_env: KEY}]`\nin the suite, then `distill eval run`.\n\nExamples:\n  distill proxy task list\n  distill proxy task release triage 3\n  distill proxy task rollback triage"
)]
pub(crate) struct TaskArguments {
    #[command(subcommand)]
    command: TaskCommand,
}

#[derive(Debug, Subcommand)]
enum TaskCommand {
    /// List tasks, their versions and which of them answers
    List(ListArguments),
    /// Let a version answer
    Release(ReleaseArguments),
    /// Take the latest release back; the version before it answers again
    Rollback(RollbackArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    place: Place,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Args)]
struct ReleaseArguments {
    task: String,
    /// A version of the configuration
    version: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct RollbackArguments {
    task: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Place {
    /// The configuration [default: proxy.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    fn read(&self) -> Result<(Config, TaskReleases), Failure> {
        let config = look_at(&config_path(self.config.as_deref()))?;
        let releases = TaskReleases::read(&config.task_releases).map_err(failure)?;
        Ok((config, releases))
    }
}

pub(super) fn execute(arguments: &TaskArguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        TaskCommand::List(arguments) => list(arguments),
        TaskCommand::Release(arguments) => release(arguments),
        TaskCommand::Rollback(arguments) => rollback(arguments),
    }
}

fn list(arguments: &ListArguments) -> Result<ExitCode, Failure> {
    let (config, releases) = arguments.place.read()?;
    let tasks = Tasks::new(&config, &releases).list();
    if arguments.format == Format::Json {
        let list: Vec<_> = tasks
            .iter()
            .map(|task| json!({"task": task, "releases": releases.history(&task.name)}))
            .collect();
        println!("{:#}", json!(list));
        return Ok(ExitCode::SUCCESS);
    }
    if tasks.is_empty() {
        eprintln!("the configuration has no tasks");
    }
    for task in tasks {
        println!(
            "{}  by {}  reads {}",
            task.name,
            task.route,
            task.variables.join(", ")
        );
        for (version, digest) in &task.versions {
            let mark = if *version == task.active { "→" } else { " " };
            println!("  {mark} {version}#{digest}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn release(arguments: &ReleaseArguments) -> Result<ExitCode, Failure> {
    let (config, mut releases) = arguments.place.read()?;
    let task = known(&config, &arguments.task)?;
    let version = task.version(&arguments.version).ok_or_else(|| {
        let versions: Vec<&str> = task
            .versions
            .iter()
            .map(|version| version.version.as_str())
            .collect();
        Failure::bad_input(format!(
            "task `{}` has no version `{}`",
            task.name, arguments.version
        ))
        .hint(format!("it has {}", versions.join(", ")))
    })?;
    releases.release(
        &task.name,
        Release {
            version: version.version.clone(),
            digest: version.digest.clone(),
            by: environment::person(),
            at_ms: Clock::System.now_ms(),
            taken_back_ms: None,
        },
    );
    releases.write(&config.task_releases).map_err(failure)?;
    println!("{}@{} answers", task.name, version.version);
    Ok(ExitCode::SUCCESS)
}

fn rollback(arguments: &RollbackArguments) -> Result<ExitCode, Failure> {
    let (config, mut releases) = arguments.place.read()?;
    let task = known(&config, &arguments.task)?;
    releases
        .take_back(&task.name, Clock::System.now_ms())
        .map_err(failure)?;
    releases.write(&config.task_releases).map_err(failure)?;
    let active = releases.current(&task.name).unwrap_or(&task.active);
    println!("{}@{active} answers again", task.name);
    Ok(ExitCode::SUCCESS)
}

fn known<'c>(config: &'c Config, name: &str) -> Result<&'c TaskConfig, Failure> {
    config.task(name).ok_or_else(|| {
        let names: Vec<&str> = config.tasks.iter().map(|task| task.name.as_str()).collect();
        Failure::bad_input(format!("the configuration has no task `{name}`")).hint(
            if names.is_empty() {
                "add one to `tasks`".to_owned()
            } else {
                format!("it has {}", names.join(", "))
            },
        )
    })
}

fn failure(error: ReleaseError) -> Failure {
    match error {
        error @ ReleaseError::NothingReleased { .. } => Failure::bad_input(error.to_string())
            .hint("`distill proxy task list` shows what answers"),
        error => Failure::failed("the releases of tasks cannot be changed")
            .caused_by(error)
            .hint("the folder must be writable; DISTILL_HOME names another"),
    }
}
