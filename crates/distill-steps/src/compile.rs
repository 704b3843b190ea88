//! From a checked spec to the graph of steps: names, wiring, and nothing else.

use std::path::{Path, PathBuf};

use distill_chat::{Task, TaskDefinition, TaskKind};
use distill_gateway::simulate::{FaultShares, LatencySettings, SimulatorSettings};
use distill_pipeline::{
    graph::{Graph, GraphFindings, Resources, StepNode},
    spec::{
        self, AcceptSpec, Control, Findings, Labels, ResolvedSpec, StudentTarget, Students,
        TeacherSpec, Vocabulary,
    },
};
use distill_runner::StepFailure;

use crate::{
    Action, Arm,
    action::{Ask, Compare, Curate, Split},
    arm::ControlKind,
    base::BaseReference,
    dataset::{self, Places, Resolved},
    evaluate::Evaluate,
    external::External,
    ingest::{Ingest, as_failure},
    rows::{ANSWERS, EXAMPLES, FACTS, PREDICTIONS, REPORT, ROWS, SOURCE_FILE, STUDENT},
    teacher::{Environment, ModelReference, Teacher},
    train::{Initial, Recipe, Train},
    write_report::Lineage,
};

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
    let vendors: Vec<&str> = distill_gateway::vendors()
        .iter()
        .map(|vendor| vendor.name)
        .collect();
    spec::load(name, text, &Vocabulary { vendors: &vendors })
}

/// Lays out the graph of a checked spec. `folder` is the pipeline file's; reads the data files'
/// labels where the spec leaves the label set out.
///
/// # Errors
/// [`CompileError`] when data cannot be found or read.
pub fn compile(
    spec: &ResolvedSpec,
    folder: &Path,
    home: &Path,
    environment: &Environment,
) -> Result<Compiled, CompileError> {
    let places = Places {
        data_dir: environment("DISTILL_DATA_DIR").map(PathBuf::from),
        home: home.to_owned(),
        beside: folder.to_owned(),
    };
    let train_source = dataset::resolve(&spec.data.train, &places).map_err(as_failure)?;
    let test_source = dataset::resolve(&spec.evals.test, &places).map_err(as_failure)?;
    let task = complete_task(spec, &train_source)?;
    let ingest = |source: &Resolved, gold: &Option<String>, limit| Ingest {
        format: source.format,
        gold: gold.clone(),
        limit,
        seed: spec.seed,
        task: task.clone(),
    };
    let layout = Layout {
        spec,
        folder,
        train: ingest(&train_source, &spec.data.gold, spec.data.limit),
        test: ingest(&test_source, &spec.evals.gold, spec.evals.limit),
        teacher: spec
            .teacher
            .as_ref()
            .map(|teacher| teacher_of(&spec.name, teacher)),
        train_path: train_source.path,
        test_path: test_source.path,
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

fn teacher_of(pipeline: &str, teacher: &TeacherSpec) -> Teacher {
    Teacher {
        chain: teacher
            .models
            .iter()
            .map(|model| ModelReference {
                vendor: model.vendor.clone(),
                model: model.model.clone(),
                base_url: model.base_url.clone(),
                api_key_env: model.api_key_env.clone(),
                input_usd_per_million: model.input_usd_per_million,
                output_usd_per_million: model.output_usd_per_million,
            })
            .collect(),
        budget_usd: teacher.budget_usd,
        concurrency: teacher.concurrency,
        temperature: teacher.temperature,
        max_tokens: teacher.max_tokens,
        pipeline: pipeline.to_owned(),
        simulator: teacher.simulate.as_ref().map(simulator_of),
    }
}

fn simulator_of(simulate: &spec::SimulateSpec) -> SimulatorSettings {
    let milliseconds = |value: f64| std::time::Duration::from_secs_f64(value / 1000.0);
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
        },
        seed: simulate.seed,
        ..SimulatorSettings::default()
    }
}

/// The parts that nodes are made of.
struct Layout<'a> {
    spec: &'a ResolvedSpec,
    folder: &'a Path,
    task: TaskDefinition,
    teacher: Option<Teacher>,
    train: Ingest,
    train_path: PathBuf,
    test: Ingest,
    test_path: PathBuf,
}

/// Every core: steps that compute on all of them, or whose speed is measured, run alone.
const ALL_CORES: Resources = Resources {
    cpu: u32::MAX,
    memory_mb: 0,
    network: false,
};

/// Steps that wait on the network hold no core.
const NETWORK: Resources = Resources {
    cpu: 0,
    memory_mb: 0,
    network: true,
};

impl Layout<'_> {
    /// Who is compared, in the order of the report.
    fn arms(&self) -> Vec<Arm> {
        let mut arms = vec![Arm::Constant];
        let targets = self.targets();
        if targets
            .iter()
            .any(|target| *target != StudentTarget::Linear)
        {
            for control in &self.spec.evals.controls {
                arms.push(match control {
                    Control::Untuned => Arm::Untuned,
                    Control::FewShot => Arm::FewShot,
                    Control::Full => Arm::Control(ControlKind::Full),
                    Control::RandomLora => Arm::Control(ControlKind::RandomLora),
                    Control::RandomFull => Arm::Control(ControlKind::RandomFull),
                });
            }
        }
        arms.extend(
            targets
                .iter()
                .map(|target| Arm::Student(target.name().to_owned())),
        );
        if self.prices_label_errors() {
            arms.push(Arm::Control(ControlKind::LinearGold));
        }
        if self.teacher.is_some() {
            arms.push(Arm::Teacher);
        }
        arms
    }

    /// The candidates: what the user named, or every class that can do the task.
    fn targets(&self) -> Vec<StudentTarget> {
        match &self.spec.students {
            Students::Named(targets) => targets.clone(),
            Students::Auto if self.task.kind == TaskKind::Classify => {
                vec![StudentTarget::Linear, StudentTarget::Nano]
            }
            Students::Auto => vec![StudentTarget::Nano],
        }
    }

    /// The decoder that controls are made of: the first one among the targets.
    fn base(&self) -> Result<BaseReference, StepFailure> {
        let targets = self.targets();
        let target = targets
            .iter()
            .find(|target| **target != StudentTarget::Linear);
        BaseReference::of_target(target.unwrap_or(&StudentTarget::Nano), self.folder)
    }

    fn nodes(&self, arms: &[Arm]) -> Result<Vec<StepNode<Action>>, StepFailure> {
        let mut nodes = vec![
            StepNode::new("ingest:train", Action::Ingest(self.train.clone()))
                .file("source", SOURCE_FILE, &self.train_path)
                .output("rows", ROWS),
            StepNode::new("ingest:test", Action::Ingest(self.test.clone()))
                .file("source", SOURCE_FILE, &self.test_path)
                .output("rows", ROWS),
        ];
        nodes.extend(self.teacher_nodes());
        nodes.extend(self.data_nodes());
        for arm in arms {
            nodes.extend(self.train_node(arm)?);
            nodes.extend(self.evaluate_node(arm)?);
        }
        nodes.push(self.compare_node(arms));
        nodes.push(self.report_node(arms));
        Ok(nodes)
    }

    /// Whether the run can say what the teacher's errors cost: the training rows have human labels
    /// too, and the linear student is cheap enough to be trained twice.
    fn prices_label_errors(&self) -> bool {
        self.labels_by_teacher()
            && self.spec.data.gold.is_some()
            && self.targets().contains(&StudentTarget::Linear)
    }

    fn labels_by_teacher(&self) -> bool {
        self.teacher.is_some() && self.spec.data.labels == Labels::Teacher
    }

    /// `smoke`, `label`, and the teacher's own answers to the test rows.
    fn teacher_nodes(&self) -> Vec<StepNode<Action>> {
        let Some(teacher) = &self.teacher else {
            return Vec::new();
        };
        let ask = Ask {
            task: self.task.clone(),
            teacher: teacher.clone(),
        };
        let rows = |node: StepNode<Action>, asked: &str| {
            node.input("asked", ROWS, asked, "rows")
                .input("train", ROWS, "ingest:train", "rows")
                .input("test", ROWS, "ingest:test", "rows")
                .resources(NETWORK)
        };
        let mut nodes = vec![
            rows(
                StepNode::new("smoke", Action::Smoke(ask.clone())),
                "ingest:train",
            )
            .output("smoke", FACTS),
        ];
        if self.labels_by_teacher() {
            nodes.push(
                rows(
                    StepNode::new("label", Action::Label(ask.clone())),
                    "ingest:train",
                )
                .input("smoke", FACTS, "smoke", "smoke")
                .output("answers", ANSWERS)
                .output("usage", FACTS),
            );
        }
        nodes.push(
            rows(
                StepNode::new("evaluate:teacher", Action::Label(ask)),
                "ingest:test",
            )
            .input("smoke", FACTS, "smoke", "smoke")
            .output("answers", ANSWERS)
            .output("usage", FACTS),
        );
        nodes
    }

    /// `curate`, the user's own command where there is one, and `split`.
    fn data_nodes(&self) -> Vec<StepNode<Action>> {
        let curate = |name: &str| {
            StepNode::new(
                name,
                Action::Curate(Curate {
                    task: self.task.clone(),
                }),
            )
            .input("rows", ROWS, "ingest:train", "rows")
            .input("test", ROWS, "ingest:test", "rows")
            .output("examples", EXAMPLES)
            .output("curation", FACTS)
        };
        let mut nodes = vec![curate("curate")];
        if self.labels_by_teacher() {
            nodes = vec![curate("curate").input("answers", ANSWERS, "label", "answers")];
        }
        if self.prices_label_errors() {
            nodes.push(curate("curate:gold"));
            nodes.push(self.split_node("split:gold", "curate:gold"));
        }
        let mut from = "curate";
        if let Some(own) = &self.spec.curate {
            let external = External {
                command: own.command.clone(),
                folder: self.folder.to_owned(),
            };
            let scripts: Vec<PathBuf> = own
                .command
                .iter()
                .map(|part| self.folder.join(part))
                .filter(|path| path.is_file())
                .collect();
            let mut node = StepNode::new("curate:command", Action::External(external))
                .input("examples", EXAMPLES, "curate", "examples")
                .output("examples", EXAMPLES);
            // A change of the user's script is a change of the step.
            for (index, script) in scripts.into_iter().enumerate() {
                node = node.file(format!("script{index}"), SOURCE_FILE, script);
            }
            nodes.push(node);
            from = "curate:command";
        }
        nodes.push(self.split_node("split", from));
        nodes
    }

    fn split_node(&self, name: &str, from: &str) -> StepNode<Action> {
        let split = Split {
            validation: self.spec.data.validation,
            seed: self.spec.seed,
        };
        StepNode::new(name, Action::Split(split))
            .input("examples", EXAMPLES, from, "examples")
            .output("train", EXAMPLES)
            .output("validation", EXAMPLES)
    }

    fn train_node(&self, arm: &Arm) -> Result<Option<StepNode<Action>>, StepFailure> {
        let decoder = |initial, full| -> Result<Recipe, StepFailure> {
            Ok(Recipe::Decoder {
                base: self.base()?,
                initial,
                full,
                settings: self.spec.train.decoder.clone(),
            })
        };
        let recipe = match arm {
            Arm::Constant | Arm::Untuned | Arm::FewShot | Arm::Teacher => return Ok(None),
            Arm::Control(ControlKind::Full) => decoder(Initial::Pretrained, true)?,
            Arm::Control(ControlKind::RandomLora) => decoder(Initial::Random, false)?,
            Arm::Control(ControlKind::RandomFull) => decoder(Initial::Random, true)?,
            Arm::Control(ControlKind::LinearGold) => Recipe::Linear(self.spec.train.linear.clone()),
            Arm::Student(name) => {
                let target = self
                    .targets()
                    .into_iter()
                    .find(|target| target.name() == name);
                match target.expect("an arm's student is one of the targets") {
                    StudentTarget::Linear => Recipe::Linear(self.spec.train.linear.clone()),
                    target => Recipe::Decoder {
                        base: BaseReference::of_target(&target, self.folder)?,
                        initial: Initial::Pretrained,
                        full: false,
                        settings: self.spec.train.decoder.clone(),
                    },
                }
            }
        };
        let train = Train {
            task: self.task.clone(),
            recipe,
            seed: self.spec.seed,
        };
        let files = train.base().map(BaseReference::files).unwrap_or_default();
        let split = if *arm == Arm::Control(ControlKind::LinearGold) {
            "split:gold"
        } else {
            "split"
        };
        let node = StepNode::new(format!("train:{}", step_name(arm)), Action::Train(train));
        Ok(Some(
            with_files(node, files)
                .input("train", EXAMPLES, split, "train")
                .input("validation", EXAMPLES, split, "validation")
                .output("student", STUDENT)
                .output("training", FACTS)
                .resources(ALL_CORES),
        ))
    }

    fn evaluate_node(&self, arm: &Arm) -> Result<Option<StepNode<Action>>, StepFailure> {
        if *arm == Arm::Teacher {
            return Ok(None);
        }
        let linear = matches!(arm, Arm::Student(name) if name == "linear")
            || *arm == Arm::Control(ControlKind::LinearGold);
        let needs_base = !linear && *arm != Arm::Constant;
        let evaluate = Evaluate {
            arm: arm.clone(),
            task: self.task.clone(),
            base: match arm {
                _ if !needs_base => None,
                Arm::Student(name) => {
                    let target = self
                        .targets()
                        .into_iter()
                        .find(|target| target.name() == name);
                    Some(BaseReference::of_target(
                        &target.expect("an arm's student is one of the targets"),
                        self.folder,
                    )?)
                }
                _ => Some(self.base()?),
            },
            shot_seed: self.spec.seed,
        };
        let files = evaluate
            .base
            .as_ref()
            .map(BaseReference::files)
            .unwrap_or_default();
        let mut node = with_files(
            StepNode::new(
                format!("evaluate:{}", step_name(arm)),
                Action::Evaluate(evaluate),
            ),
            files,
        )
        .input("rows", ROWS, "ingest:test", "rows")
        .output("predictions", PREDICTIONS)
        .output("timing", FACTS)
        .resources(ALL_CORES);
        node = match arm {
            Arm::Student(_) | Arm::Control(_) => node.input(
                "student",
                STUDENT,
                format!("train:{}", step_name(arm)),
                "student",
            ),
            Arm::Constant | Arm::FewShot => node.input("examples", EXAMPLES, "split", "train"),
            Arm::Untuned | Arm::Teacher => node,
        };
        Ok(Some(node))
    }

    fn compare_node(&self, arms: &[Arm]) -> StepNode<Action> {
        let compare = Compare {
            task: self.task.clone(),
            accept: self.spec.accept.clone(),
            cost: self.spec.cost.clone(),
            gold: self.spec.evals.gold.is_some(),
            arms: arms.to_vec(),
            seed: self.spec.seed,
        };
        let mut node = StepNode::new("compare", Action::Compare(compare))
            .input("rows", ROWS, "ingest:test", "rows")
            .output("comparison", FACTS)
            .output("gate", FACTS);
        for arm in arms {
            let name = step_name(arm);
            node = if *arm == Arm::Teacher {
                node.input("answers:teacher", ANSWERS, "evaluate:teacher", "answers")
                    .input("usage:teacher", FACTS, "evaluate:teacher", "usage")
            } else {
                let step = format!("evaluate:{name}");
                node.input(
                    format!("predictions:{name}"),
                    PREDICTIONS,
                    &step,
                    "predictions",
                )
                .input(format!("timing:{name}"), FACTS, &step, "timing")
            };
            if matches!(arm, Arm::Student(_)) {
                node = node.input(
                    format!("training:{name}"),
                    FACTS,
                    format!("train:{name}"),
                    "training",
                );
            }
        }
        node
    }

    fn report_node(&self, arms: &[Arm]) -> StepNode<Action> {
        let lineage = Lineage::new(self.spec, &self.task, arms, self.teacher.clone());
        let mut node = StepNode::new(REPORT_STEP, Action::Report(Box::new(lineage)))
            .input("comparison", FACTS, "compare", "comparison")
            .input("curation", FACTS, "curate", "curation")
            .input("train", ROWS, "ingest:train", "rows")
            .input("test", ROWS, "ingest:test", "rows")
            .output("report", REPORT);
        for arm in arms
            .iter()
            .filter(|arm| matches!(arm, Arm::Student(_) | Arm::Control(_)))
        {
            let name = step_name(arm);
            node = node.input(
                format!("training:{name}"),
                FACTS,
                format!("train:{name}"),
                "training",
            );
        }
        if self.teacher.is_some() {
            node = node.input("usage:teacher", FACTS, "evaluate:teacher", "usage");
        }
        if self.labels_by_teacher() {
            node = node.input("usage:label", FACTS, "label", "usage").input(
                "answers:label",
                ANSWERS,
                "label",
                "answers",
            );
        }
        node
    }
}

/// A base folder's files as inputs, so that their content is in the key.
fn with_files(mut node: StepNode<Action>, files: Vec<PathBuf>) -> StepNode<Action> {
    for path in files {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        node = node.file(format!("base-{name}"), SOURCE_FILE, path);
    }
    node
}

/// An arm's name as part of a step's: letters, digits, `.`, `_` and `-` only.
pub(crate) fn step_name(arm: &Arm) -> String {
    let name = arm.name();
    let short = name
        .rsplit('/')
        .find(|part| !part.is_empty())
        .unwrap_or(&name);
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
