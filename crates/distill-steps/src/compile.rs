//! From a checked spec to the graph of steps: names, wiring, and nothing else.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use distill_chat::{Task, TaskDefinition, TaskKind};
use distill_gateway::simulate::{
    FaultShares, JudgeSettings, LatencySettings, ModelSettings, SimulatorSettings,
};
use distill_pipeline::{
    graph::{Graph, GraphFindings},
    spec::{self, AcceptSpec, Findings, MetricName, ResolvedSpec, TeacherSpec, Vocabulary},
};
use distill_runner::StepFailure;
use serde_json::{Map, Value};

use crate::{
    Action, Arm,
    dataset::{self, Places, Resolved},
    ingest::{Ingest, as_failure},
    teacher::{Environment, ModelReference, Teacher},
};

mod layout;

use layout::Layout;
pub(crate) use layout::judging::JUDGE_STEP;

/// The last step of every pipeline.
pub const REPORT_STEP: &str = "report";

/// A pipeline that can be planned and run.
pub struct Compiled {
    pub graph: Graph<Action>,
    pub task: TaskDefinition,
    pub teacher: Option<Teacher>,
    /// Where the training and test rows are.
    pub train: Ingest,
    pub train_path: PathBuf,
    pub test: Ingest,
    pub test_path: PathBuf,
    pub accept: AcceptSpec,
    pub arms: Vec<Arm>,
}

/// Why a spec has no graph.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("{}", .0.message)]
    Data(StepFailure),
    #[error("the steps do not fit together")]
    Graph(#[from] GraphFindings),
}

impl From<StepFailure> for CompileError {
    fn from(failure: StepFailure) -> Self {
        Self::Data(failure)
    }
}

/// Parses and checks a pipeline file.
///
/// # Errors
/// All findings at once.
pub fn parse_spec(name: &str, text: &str) -> Result<ResolvedSpec, Findings> {
    with_vocabulary(|vocabulary| spec::load(name, text, vocabulary))
}

/// Hands over the names that a spec may use.
pub(crate) fn with_vocabulary<T>(read: impl FnOnce(&Vocabulary<'_>) -> T) -> T {
    let vendors: Vec<&str> = distill_gateway::vendors()
        .iter()
        .map(|vendor| vendor.name)
        .collect();
    let metrics: Vec<MetricName<'_>> = distill_eval::METRICS
        .iter()
        .map(|metric| MetricName {
            name: metric.name,
            kinds: metric.kinds,
            decides: !matches!(metric.rule, distill_eval::Rule::Corpus(_)),
        })
        .collect();
    let vocabulary = Vocabulary {
        vendors: &vendors,
        metrics: &metrics,
        check_scorer,
    };
    read(&vocabulary)
}

fn check_scorer(name: &str, settings: &Map<String, Value>) -> Result<(), String> {
    distill_eval::Scorer::parse(name, settings)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Lays out the graph of a checked spec. `path` is the pipeline file's: data is looked for beside it.
/// Reads the data files' labels where the spec leaves the label set out.
///
/// # Errors
/// [`CompileError`] when data cannot be found or read.
pub fn compile(
    spec: &ResolvedSpec,
    path: &Path,
    home: &Path,
    environment: &Environment,
) -> Result<Compiled, CompileError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let places = Places {
        data_dir: environment("DISTILL_DATA_DIR").map(PathBuf::from),
        home: home.to_owned(),
        beside: folder.to_owned(),
    };
    let train_source = dataset::resolve(&spec.data.train, &places).map_err(as_failure)?;
    let test_source = dataset::resolve(&spec.evals.test, &places).map_err(as_failure)?;
    let task = complete_task(spec, &train_source)?;
    check_evals_columns(spec, &test_source)?;
    let ingest = |source: &Resolved, gold: &Option<String>, limit| Ingest {
        format: source.format,
        gold: gold.clone(),
        limit,
        seed: spec.seed,
        task: task.clone(),
    };
    let layout = Layout {
        spec,
        path,
        folder,
        train: ingest(&train_source, &spec.data.gold, spec.data.limit),
        test: ingest(&test_source, &spec.evals.gold, spec.evals.limit),
        teacher: spec.teacher.as_ref().map(|teacher| Teacher {
            top_logprobs: spec.train.objective.as_ref().and_then(api_logprobs),
            ..teacher_of(&spec.name, teacher)
        }),
        train_path: train_source.path,
        test_path: test_source.path,
        fetched: crate::models::cache(environment),
        task,
    };
    let arms = layout.arms();
    let graph = Graph::build(layout.nodes(&arms)?)?;
    Ok(Compiled {
        graph,
        arms,
        accept: spec.accept.clone(),
        task: layout.task,
        teacher: layout.teacher,
        train: layout.train,
        train_path: layout.train_path,
        test: layout.test,
        test_path: layout.test_path,
    })
}

/// Rows are sliced and grouped by columns that they have: found out before anything is paid for.
fn check_evals_columns(spec: &ResolvedSpec, test: &Resolved) -> Result<(), StepFailure> {
    let slices = spec.evals.slices.iter().map(|name| ("slices", name));
    let group = spec.evals.group.iter().map(|name| ("group", name));
    let wanted: Vec<(&str, &String)> = slices.chain(group).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let rows = dataset::read_rows(test, spec.evals.gold.as_deref()).map_err(as_failure)?;
    for (key, name) in wanted {
        if rows.iter().any(|row| row.fields.contains_key(name)) {
            continue;
        }
        if spec.evals.gold.as_ref() == Some(name) {
            if key == "slices" && spec.task.kind == TaskKind::Classify {
                continue;
            }
            return Err(StepFailure::bad_input(format!(
                "`evals.{key}` names the column `{name}`, which holds the right answers"
            ))
            .at(&test.path, None)
            .hint(if key == "slices" {
                "rows can be sliced by the labels of a classification, not by whole answers: name another column"
            } else {
                "name what makes rows depend on each other, such as a customer or a conversation"
            }));
        }
        let columns: BTreeSet<&str> = rows
            .iter()
            .flat_map(|row| row.fields.keys().map(String::as_str))
            .collect();
        let columns: Vec<&str> = columns.into_iter().collect();
        return Err(StepFailure::bad_input(format!(
            "`evals.{key}` names the column `{name}`, and no row of `{}` has it",
            test.path.display()
        ))
        .at(&test.path, None)
        .hint(format!("its columns are {}", columns.join(", "))));
    }
    Ok(())
}

/// Fills in the label set of a classification that left it out.
fn complete_task(spec: &ResolvedSpec, train: &Resolved) -> Result<TaskDefinition, CompileError> {
    let mut task = spec.task.clone();
    if task.kind == TaskKind::Classify && task.labels.is_empty() {
        let rows = dataset::read_rows(train, spec.data.gold.as_deref()).map_err(as_failure)?;
        task.labels = dataset::distinct_labels(&rows);
        if task.labels.len() < 2 {
            return Err(StepFailure::bad_input(format!(
                "`task.labels` is left out and `{}` has {} distinct gold labels",
                train.path.display(),
                task.labels.len()
            ))
            .hint("list the labels in `task.labels`, or name the column that holds them in `data.gold`")
            .into());
        }
    }
    Task::new(task.clone())
        .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))?;
    Ok(task)
}

/// How many of the likeliest tokens the labels' vendor is asked for.
fn api_logprobs(objective: &spec::ObjectiveSpec) -> Option<u32> {
    match objective {
        spec::ObjectiveSpec::TopK {
            teacher: None, top, ..
        } => u32::try_from(*top).ok(),
        _ => None,
    }
}

fn teacher_of(pipeline: &str, teacher: &TeacherSpec) -> Teacher {
    Teacher {
        chain: teacher.models.iter().map(model_reference).collect(),
        budget_usd: teacher.budget_usd,
        concurrency: teacher.concurrency,
        temperature: teacher.temperature,
        max_tokens: teacher.max_tokens,
        pipeline: pipeline.to_owned(),
        simulator: teacher.simulate.as_ref().map(simulator_of),
        top_logprobs: None,
    }
}

/// A model of a spec, as steps ask it.
pub(crate) fn model_reference(model: &spec::ModelSpec) -> ModelReference {
    ModelReference {
        vendor: model.vendor.clone(),
        model: model.model.clone(),
        base_url: model.base_url.clone(),
        api_key_env: model.api_key_env.clone(),
        input_usd_per_million: model.input_usd_per_million,
        output_usd_per_million: model.output_usd_per_million,
    }
}

pub(crate) fn simulator_of(simulate: &spec::SimulateSpec) -> SimulatorSettings {
    let milliseconds = |value: f64| std::time::Duration::from_secs_f64(value / 1000.0);
    let usual = SimulatorSettings::default();
    SimulatorSettings {
        accuracy: simulate.accuracy,
        latency: LatencySettings {
            median: milliseconds(simulate.latency_ms.median),
            p95: milliseconds(simulate.latency_ms.p95),
        },
        faults: FaultShares {
            rate_limit: simulate.faults.rate_limit,
            server_error: simulate.faults.server_error,
            hang: simulate.faults.hang,
            stall: simulate.faults.stall,
            malformed: simulate.faults.malformed,
            truncate: simulate.faults.truncate,
            ..FaultShares::default()
        },
        seed: simulate.seed,
        unsteady: simulate.unsteady.unwrap_or(usual.unsteady),
        judge: JudgeSettings {
            accuracy: simulate.judge_accuracy.unwrap_or(usual.judge.accuracy),
            position_bias: simulate
                .judge_position_bias
                .unwrap_or(usual.judge.position_bias),
            ..usual.judge
        },
        models: usual
            .models
            .into_iter()
            .map(|model| ModelSettings {
                accuracy: simulate.cheap_accuracy.filter(|_| model.name == "cheap"),
                ..model
            })
            .collect(),
        retry_after: usual.retry_after,
        error_noise: usual.error_noise,
        improvise: usual.improvise,
        bill_rows: usual.bill_rows,
    }
}

/// An arm's name as part of a step's: letters, digits, `.`, `_` and `-` only.
pub(crate) fn step_name(arm: &Arm) -> String {
    let name = arm.name();
    // Two vendors may serve models of one name; two directories of one name are the user's doing.
    let short = match arm {
        Arm::Cheaper(_) => name.as_str(),
        _ => name
            .rsplit('/')
            .find(|part| !part.is_empty())
            .unwrap_or(&name),
    };
    short
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() || "._-".contains(character) {
                character
            } else {
                '-'
            }
        })
        .collect()
}
