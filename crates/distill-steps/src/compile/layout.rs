//! The nodes of the graph: which steps there are, what each reads and what it makes.

use std::path::{Path, PathBuf};

use distill_chat::{TaskDefinition, TaskKind};
use distill_hub::Cache;
use distill_pipeline::{
    graph::{Resources, StepNode},
    spec::{
        Control, DeviceKind, Labels, ModelClass, ObjectiveSpec, ResolvedSpec, StudentTarget,
        Students,
    },
};
use distill_runner::StepFailure;

use super::{REPORT_STEP, step_name};
use crate::{
    Action, Arm,
    action::{Ask, Curate},
    arm::ControlKind,
    base::BaseReference,
    evaluate::Evaluate,
    external::External,
    ingest::Ingest,
    rows::{ANSWERS, EXAMPLES, FACTS, PREDICTIONS, ROWS, SOURCE_FILE, STUDENT},
    teacher::Teacher,
    train::{Initial, ObjectiveRecipe, Recipe, Train, found_device, rate_by_width},
};

mod calibration;
mod comparing;
mod curve;
pub(crate) mod judging;
mod measuring;

/// The parts that nodes are made of.
pub(super) struct Layout<'a> {
    pub(super) spec: &'a ResolvedSpec,
    pub(super) path: &'a Path,
    pub(super) folder: &'a Path,
    pub(super) task: TaskDefinition,
    pub(super) teacher: Option<Teacher>,
    pub(super) train: Ingest,
    pub(super) train_path: PathBuf,
    pub(super) test: Ingest,
    pub(super) test_path: PathBuf,
    /// Where models of the hub lie that were fetched.
    pub(super) fetched: Option<Cache>,
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
    pub(super) fn arms(&self) -> Vec<Arm> {
        let mut arms = vec![Arm::Constant];
        let targets = self.targets();
        if targets.iter().any(|target| self.is_decoder(target)) {
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
        arms.extend(self.cheaper_arms());
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

    /// How many decoders this pipeline trains.
    fn trained_decoders(&self) -> usize {
        let controls = self
            .spec
            .evals
            .controls
            .iter()
            .filter(|control| !matches!(control, Control::Untuned | Control::FewShot));
        let students = self
            .targets()
            .iter()
            .filter(|target| self.is_decoder(target))
            .count();
        students + if students > 0 { controls.count() } else { 0 }
    }

    /// The decoder that controls are made of: the first one among the targets.
    fn base(&self) -> Result<BaseReference, StepFailure> {
        let targets = self.targets();
        let target = targets.iter().find(|target| self.is_decoder(target));
        self.base_of(target.unwrap_or(&StudentTarget::Nano))
    }

    /// The name of that decoder, where other students have bases too.
    fn controls_of(&self) -> Option<String> {
        let targets = self.targets();
        let on_bases = targets.iter().filter(|at| **at != StudentTarget::Linear);
        let several = on_bases.count() > 1;
        let target = targets.iter().find(|target| self.is_decoder(target));
        target
            .filter(|_| several)
            .map(|target| target.name().to_owned())
    }

    /// Whether a target is a decoder: what is neither linear nor, by its configuration, an encoder.
    fn is_decoder(&self, target: &StudentTarget) -> bool {
        let is_encoder = |base: BaseReference| base.class(self.spec.class) == ModelClass::Encoder;
        target.is_decoder() && !self.base_of(target).is_ok_and(is_encoder)
    }

    /// How the student of a target is trained.
    fn recipe(&self, target: &StudentTarget) -> Result<Recipe, StepFailure> {
        if *target == StudentTarget::Linear {
            return Ok(Recipe::Linear(self.spec.train.linear.clone()));
        }
        let base = self.base_of(target)?;
        if base.class(self.spec.class) == ModelClass::Decoder {
            return self.decoder(base, Initial::Pretrained, false);
        }
        if self.task.kind != TaskKind::Classify {
            let name = target.name();
            return Err(StepFailure::bad_input(format!(
                "`{name}` is an encoder, which can only choose among labels"
            ))
            .hint("take a decoder, or a task of the kind `classify`"));
        }
        Ok(Recipe::Encoder {
            base,
            settings: self.spec.train.encoder.clone(),
            objective: self.soft_labels(target)?,
        })
    }

    /// What an encoder learns besides its labels: soft labels. Other objectives are of tokens, and
    /// mean the decoders beside it.
    fn soft_labels(&self, target: &StudentTarget) -> Result<Option<ObjectiveRecipe>, StepFailure> {
        match &self.spec.train.objective {
            None => Ok(None),
            Some(ObjectiveSpec::SoftLabels { .. }) => self.objective(),
            Some(_) if self.targets().iter().any(|target| self.is_decoder(target)) => Ok(None),
            Some(_) => Err(StepFailure::bad_input(format!(
                "`train.objective` is of tokens, and `{}` is an encoder, which writes none",
                target.name()
            ))
            .hint("write `kind: soft_labels`, or leave `train.objective` out")),
        }
    }

    fn decoder(
        &self,
        base: BaseReference,
        initial: Initial,
        full: bool,
    ) -> Result<Recipe, StepFailure> {
        let mut settings = self.spec.train.decoder.clone();
        settings.tuning.device = self.device();
        Ok(Recipe::Decoder {
            rate: rate_by_width(&base, &settings, full),
            base,
            initial,
            full,
            settings,
            objective: self.objective()?,
        })
    }

    /// Where decoders are trained and evaluated.
    fn device(&self) -> DeviceKind {
        found_device(self.spec.train.decoder.tuning.device)
    }

    /// Where an arm answers: decoders alone run elsewhere than on the processor.
    fn device_of(&self, arm: &Arm) -> DeviceKind {
        let target = match arm {
            Arm::Student(name) => {
                let targets = self.targets();
                targets.into_iter().find(|target| target.name() == name)
            }
            Arm::Constant | Arm::Control(ControlKind::LinearGold) => return DeviceKind::Cpu,
            _ => None,
        };
        let encoder = |target| self.base_of(target).is_ok_and(|base| base.is_encoder());
        match target {
            Some(StudentTarget::Linear) => DeviceKind::Cpu,
            Some(target) if encoder(&target) => DeviceKind::Cpu,
            _ => self.device(),
        }
    }

    fn base_of(&self, target: &StudentTarget) -> Result<BaseReference, StepFailure> {
        BaseReference::of_target(target, self.folder, self.fetched.as_ref())
    }

    /// The objective of every decoder, with its local teacher found.
    fn objective(&self) -> Result<Option<ObjectiveRecipe>, StepFailure> {
        let Some(spec) = &self.spec.train.objective else {
            return Ok(None);
        };
        Ok(Some(ObjectiveRecipe {
            teacher: spec.teacher().map(|at| self.base_of(at)).transpose()?,
            spec: spec.clone(),
        }))
    }

    pub(super) fn nodes(&self, arms: &[Arm]) -> Result<Vec<StepNode<Action>>, StepFailure> {
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
            nodes.extend(self.measure_node(arm));
            nodes.extend(self.curve_nodes(arm)?);
            nodes.extend(self.cascade_node(arm));
        }
        nodes.extend(self.cheaper_nodes());
        nodes.extend(self.noise_nodes(arms));
        nodes.extend(self.judge_node(arms)?);
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
        }
        nodes.push(self.split_node("split", self.parted_step()));
        nodes.extend(self.label_noise_node());
        nodes
    }

    /// How an arm is trained; `None` for one that is not.
    fn training(&self, arm: &Arm) -> Result<Option<Train>, StepFailure> {
        let decoder = |initial, full| self.decoder(self.base()?, initial, full);
        let recipe = match arm {
            Arm::Constant | Arm::Untuned | Arm::FewShot | Arm::Cheaper(_) | Arm::Teacher => {
                return Ok(None);
            }
            Arm::Control(ControlKind::Full) => decoder(Initial::Pretrained, true)?,
            Arm::Control(ControlKind::RandomLora) => decoder(Initial::Random, false)?,
            Arm::Control(ControlKind::RandomFull) => decoder(Initial::Random, true)?,
            Arm::Control(ControlKind::LinearGold) => Recipe::Linear(self.spec.train.linear.clone()),
            Arm::Student(name) => {
                let target = self
                    .targets()
                    .into_iter()
                    .find(|target| target.name() == name);
                self.recipe(&target.expect("an arm's student is one of the targets"))?
            }
        };
        Ok(Some(Train {
            task: self.task.clone(),
            recipe,
            seed: self.spec.seed,
            side_by_side: self.trained_decoders() > 1,
        }))
    }

    /// Two trainings on a core each are done sooner than one after the other on both: the small
    /// products of a small model leave threads waiting for each other.
    fn training_resources(train: &Train) -> Resources {
        if train.side_by_side && train.base().is_some() {
            Resources {
                cpu: 1,
                ..Resources::default()
            }
        } else {
            ALL_CORES
        }
    }

    fn train_node(&self, arm: &Arm) -> Result<Option<StepNode<Action>>, StepFailure> {
        let Some(train) = self.training(arm)? else {
            return Ok(None);
        };
        let resources = Self::training_resources(&train);
        let files = train.base().map(BaseReference::files).unwrap_or_default();
        let teacher = train
            .objective()
            .map(ObjectiveRecipe::files)
            .unwrap_or_default();
        let split = if *arm == Arm::Control(ControlKind::LinearGold) {
            "split:gold"
        } else {
            "split"
        };
        let node = StepNode::new(format!("train:{}", step_name(arm)), Action::Train(train));
        Ok(Some(
            with_files(with_files(node, "base", files), "teacher", teacher)
                .input("train", EXAMPLES, split, "train")
                .input("validation", EXAMPLES, split, "validation")
                .output("student", STUDENT)
                .output("training", FACTS)
                .resources(resources),
        ))
    }

    fn evaluate_node(&self, arm: &Arm) -> Result<Option<StepNode<Action>>, StepFailure> {
        if arm.is_hosted() {
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
                    Some(self.base_of(&target.expect("an arm's student is one of the targets"))?)
                }
                _ => Some(self.base()?),
            },
            shot_seed: self.spec.seed,
            device: self.device_of(arm),
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
            "base",
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
            Arm::Untuned | Arm::Cheaper(_) | Arm::Teacher => node,
        };
        Ok(Some(node))
    }
}

/// A base folder's files as inputs, so that their content is in the key.
fn with_files(mut node: StepNode<Action>, whose: &str, files: Vec<PathBuf>) -> StepNode<Action> {
    for path in files {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        node = node.file(format!("{whose}-{name}"), SOURCE_FILE, path);
    }
    node
}
