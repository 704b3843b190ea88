//! The nodes that look at labels, part the examples, and calibrate students.

use distill_chat::TaskKind;
use distill_pipeline::graph::StepNode;

use super::{ALL_CORES, Layout};
use crate::{
    Action, Arm,
    action::{Calibrate, Split},
    cascade::Cascade,
    compare::primary_name,
    compile::step_name,
    label_noise::LabelNoise,
    rows::{EXAMPLES, FACTS, ROWS, STUDENT},
};

#[cfg(test)]
mod tests;

impl Layout<'_> {
    /// Looks for labels that are wrong, where labels are of a set.
    pub(super) fn label_noise_node(&self) -> Option<StepNode<Action>> {
        if self.task.kind != TaskKind::Classify {
            return None;
        }
        let noise = LabelNoise {
            task: self.task.clone(),
            seed: self.spec.seed,
            simulated: self.labels_are_simulated(),
        };
        let node = StepNode::new("label-noise", Action::LabelNoise(noise))
            .input("examples", EXAMPLES, "curate", "examples")
            .output("noise", FACTS)
            .output("addition", FACTS)
            .resources(ALL_CORES);
        // The human labels say something about the labels only where those are somebody else's.
        Some(
            if self.labels_by_teacher() && self.spec.data.gold.is_some() {
                node.input("rows", ROWS, "ingest:train", "rows")
            } else {
                node
            },
        )
    }

    /// The step whose examples are parted: the user's own command where there is one.
    pub(super) fn parted_step(&self) -> &'static str {
        if self.spec.curate.is_some() {
            "curate:command"
        } else {
            "curate"
        }
    }

    pub(super) fn split_node(&self, name: &str, from: &str) -> StepNode<Action> {
        let share = self.spec.data.calibration;
        let split = Split {
            validation: self.spec.data.validation,
            seed: self.spec.seed,
            calibration: (share > 0.0).then(|| Calibrate {
                share,
                task: self.task.clone(),
            }),
        };
        let apart = split.calibration.is_some();
        let node = StepNode::new(name, Action::Split(split))
            .input("examples", EXAMPLES, from, "examples")
            .output("train", EXAMPLES)
            .output("validation", EXAMPLES);
        if apart {
            node.output("calibration", EXAMPLES)
        } else {
            node
        }
    }

    /// Whether a threshold is chosen for this arm.
    pub(super) fn is_calibrated(&self, arm: &Arm) -> bool {
        matches!(arm, Arm::Student(_))
            && self.spec.accept.risk.is_some()
            && self.spec.data.calibration > 0.0
    }

    pub(super) fn cascade_node(&self, arm: &Arm) -> Option<StepNode<Action>> {
        let Arm::Student(student) = arm else {
            return None;
        };
        let risk = self.spec.accept.risk?;
        if !self.is_calibrated(arm) {
            return None;
        }
        let compare = self.compare(&[]);
        let metric = primary_name(&compare).to_owned();
        let shown = compare.scorers.iter().find(|scorer| scorer.name == metric);
        let cascade = Cascade {
            student: student.clone(),
            task: self.task.clone(),
            metric_settings: shown
                .map(|scorer| scorer.settings.clone())
                .unwrap_or_default(),
            metric,
            risk,
            confidence: self.spec.accept.confidence,
            human_labels: !self.labels_by_teacher(),
        };
        let name = step_name(arm);
        let node = StepNode::new(format!("cascade:{name}"), Action::Cascade(cascade))
            .input("student", STUDENT, format!("train:{name}"), "student")
            .input("calibration", EXAMPLES, "split", "calibration")
            .output("cascade", FACTS)
            .output("addition", FACTS)
            .resources(ALL_CORES);
        // Without a column of human answers there is nothing in the rows that the examples lack.
        Some(if self.spec.data.gold.is_some() {
            node.input("rows", ROWS, "ingest:train", "rows")
        } else {
            node
        })
    }

    /// Whether the training labels come from the embedded provider.
    pub(super) fn labels_are_simulated(&self) -> bool {
        let teacher = self.teacher.as_ref();
        self.labels_by_teacher() && teacher.is_some_and(|teacher| teacher.simulator.is_some())
    }
}
