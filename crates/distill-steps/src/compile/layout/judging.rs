//! The nodes that ask hosted models about the test rows: cheaper ones, the teacher a second time,
//! and judges.

use std::path::PathBuf;

use distill_eval::judge::JudgeMode;
use distill_pipeline::{graph::StepNode, spec};
use distill_runner::StepFailure;

use super::{ALL_CORES, Layout, NETWORK};
use crate::{
    Action, Arm,
    action::Ask,
    compile::{model_reference, step_name},
    judge::{Judge, JudgeStep},
    noise::{NoiseFloor, Repeat},
    rows::{ANSWERS, FACTS, JUDGED, PREDICTIONS, ROWS, SOURCE_FILE, STUDENT, VERDICTS},
    teacher::{ModelReference, Teacher},
};

/// The judging step.
pub(crate) const JUDGE_STEP: &str = "judge";
/// The step that asks the teacher a second time.
pub(crate) const NOISE_STEP: &str = "noise-floor";
/// Judges in flight at once where there is no teacher to take the number from.
const USUAL_CONCURRENCY: usize = 16;

impl Layout<'_> {
    /// One arm for each cheaper hosted model.
    pub(super) fn cheaper_arms(&self) -> impl Iterator<Item = Arm> {
        let models = self.spec.evals.cheaper.iter();
        models.map(|model| Arm::Cheaper(model.name()))
    }

    /// The cheaper models' answers to the test rows. Each may spend as much as the teacher.
    pub(super) fn cheaper_nodes(&self) -> Vec<StepNode<Action>> {
        let Some(teacher) = &self.teacher else {
            return Vec::new();
        };
        let models = self.spec.evals.cheaper.iter();
        models
            .map(|model| {
                let ask = Ask {
                    task: self.task.clone(),
                    teacher: Teacher {
                        chain: vec![model_reference(model)],
                        ..teacher.clone()
                    },
                };
                let name = step_name(&Arm::Cheaper(model.name()));
                self.asking(StepNode::new(
                    format!("evaluate:{name}"),
                    Action::Label(ask),
                ))
                .output("answers", ANSWERS)
                .output("usage", FACTS)
            })
            .collect()
    }

    /// The teacher and every student a second time.
    pub(super) fn noise_nodes(&self, arms: &[Arm]) -> Vec<StepNode<Action>> {
        let rows = self.spec.evals.noise_floor;
        let Some(teacher) = self.teacher.as_ref().filter(|_| rows > 0) else {
            return Vec::new();
        };
        let floor = NoiseFloor {
            ask: Ask {
                task: self.task.clone(),
                teacher: teacher.clone(),
            },
            rows,
            seed: self.spec.seed,
            confidence: self.spec.accept.confidence,
        };
        let mut node = self
            .asking(StepNode::new(NOISE_STEP, Action::NoiseFloor(floor)))
            .input("answers", ANSWERS, "evaluate:teacher", "answers")
            .output("answers", ANSWERS)
            .output("usage", FACTS)
            .output("addition", FACTS);
        let mut nodes = Vec::new();
        for arm in arms.iter().filter(|arm| matches!(arm, Arm::Student(_))) {
            let name = step_name(arm);
            let repeat = Repeat {
                arm: arm.clone(),
                task: self.task.clone(),
                rows,
                seed: self.spec.seed,
            };
            let step = format!("repeat:{name}");
            nodes.push(
                StepNode::new(&step, Action::Repeat(repeat))
                    .input("student", STUDENT, format!("train:{name}"), "student")
                    .input("rows", ROWS, "ingest:test", "rows")
                    .input(
                        "predictions",
                        PREDICTIONS,
                        format!("evaluate:{name}"),
                        "predictions",
                    )
                    .output("repeat", FACTS)
                    .resources(ALL_CORES),
            );
            node = node.input(&step, FACTS, &step, "repeat");
        }
        nodes.push(node);
        nodes
    }

    /// What the judge does, where the spec names one.
    ///
    /// # Errors
    /// A [`StepFailure`] for a judge of the teacher's family and for pairs without a teacher.
    pub(super) fn judge(&self, arms: &[Arm]) -> Result<Option<Judge>, StepFailure> {
        let Some(judge) = &self.spec.evals.judge else {
            return Ok(None);
        };
        let mode = judge_mode(judge.mode);
        if mode == JudgeMode::Pairwise && self.teacher.is_none() {
            return Err(StepFailure::bad_input(
                "a pairwise judge holds each answer against the teacher's, and there is no teacher",
            )
            .hint("add a `teacher`, or set `evals.judge.mode: pointwise`"));
        }
        let judge = Judge {
            task: self.task.clone(),
            panel: judge.models.iter().map(model_reference).collect(),
            mode,
            rubric: judge.rubric.clone(),
            budget_usd: judge.budget_usd,
            concurrency: self
                .teacher
                .as_ref()
                .map_or(USUAL_CONCURRENCY, |teacher| teacher.concurrency),
            pipeline: self.spec.name.clone(),
            simulator: self
                .teacher
                .as_ref()
                .and_then(|teacher| teacher.simulator.clone()),
            same_family: judge.same_family,
            arms: arms
                .iter()
                .filter(|arm| matches!(arm, Arm::Student(_)) || arm.is_hosted())
                .cloned()
                .collect(),
        };
        let teachers: &[ModelReference] =
            self.teacher.as_ref().map_or(&[], |teacher| &teacher.chain);
        judge.check_family(teachers)?;
        Ok(Some(judge))
    }

    /// Judges the students, the cheaper models and, pointwise, the teacher.
    pub(super) fn judge_node(&self, arms: &[Arm]) -> Result<Option<StepNode<Action>>, StepFailure> {
        let Some(judge) = self.judge(arms)? else {
            return Ok(None);
        };
        let judged = judge.arms.clone();
        let step = JudgeStep {
            judge,
            group: self.spec.evals.group.clone(),
            confidence: self.spec.accept.confidence,
            seed: self.spec.seed,
        };
        let mut node = self
            .asking(StepNode::new(JUDGE_STEP, Action::Judge(Box::new(step))))
            .output("judged", JUDGED)
            .output("verdicts", VERDICTS)
            .output("usage", FACTS)
            .output("addition", FACTS);
        for arm in &judged {
            let name = step_name(arm);
            let step = format!("evaluate:{name}");
            node = if arm.is_hosted() {
                node.input(format!("answers:{name}"), ANSWERS, step, "answers")
            } else {
                node.input(
                    format!("predictions:{name}"),
                    PREDICTIONS,
                    step,
                    "predictions",
                )
            };
        }
        if let Some(path) = self.calibration_file() {
            node = node.file("calibration", SOURCE_FILE, path);
        }
        Ok(Some(node))
    }

    /// Adds the judge's words to the comparison, for the records and the verdict.
    pub(super) fn with_judge(&self, node: StepNode<Action>) -> StepNode<Action> {
        if self.spec.evals.judge.is_none() {
            return node;
        }
        node.input("judged", JUDGED, JUDGE_STEP, "judged")
            .input("verdicts", VERDICTS, JUDGE_STEP, "verdicts")
            .input("usage:judge", FACTS, JUDGE_STEP, "usage")
    }

    /// Adds what the judge and the noise floor found to the report.
    pub(super) fn with_asked(&self, mut node: StepNode<Action>) -> StepNode<Action> {
        if self.spec.evals.judge.is_some() {
            node = node.input("addition:judge", FACTS, JUDGE_STEP, "addition");
        }
        if self.teacher.is_some() && self.spec.evals.noise_floor > 0 {
            node = node
                .input("addition:noise-floor", FACTS, NOISE_STEP, "addition")
                .input("usage:noise-floor", FACTS, NOISE_STEP, "usage");
        }
        node
    }

    fn calibration_file(&self) -> Option<PathBuf> {
        let judge = self.spec.evals.judge.as_ref()?;
        Some(self.folder.join(judge.calibration.as_ref()?))
    }

    /// The rows that are asked about, and those that a simulated provider knows the answers of.
    fn asking(&self, node: StepNode<Action>) -> StepNode<Action> {
        let node = node
            .input("asked", ROWS, "ingest:test", "rows")
            .input("train", ROWS, "ingest:train", "rows")
            .input("test", ROWS, "ingest:test", "rows")
            .resources(NETWORK);
        if self.teacher.is_some() {
            // Nobody is asked before the teacher's first answers were looked at.
            node.input("smoke", FACTS, "smoke", "smoke")
        } else {
            node
        }
    }
}

fn judge_mode(mode: spec::JudgeMode) -> JudgeMode {
    match mode {
        spec::JudgeMode::Pointwise => JudgeMode::Pointwise,
        spec::JudgeMode::Pairwise => JudgeMode::Pairwise,
    }
}
