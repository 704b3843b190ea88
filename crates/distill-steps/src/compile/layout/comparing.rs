//! The nodes that put everything together: the comparison and the report.

use distill_chat::TaskKind;
use distill_pipeline::graph::StepNode;

use super::{Layout, REPORT_STEP};
use crate::{
    Action, Arm,
    action::Compare,
    compile::step_name,
    rows::{ANSWERS, EXAMPLES, FACTS, PREDICTIONS, REPORT, ROWS, SAMPLES, SOURCE_FILE},
    write_report::Lineage,
};

impl Layout<'_> {
    /// The settings of the comparison of `arms`.
    pub(super) fn compare(&self, arms: &[Arm]) -> Compare {
        let evals = &self.spec.evals;
        Compare {
            task: self.task.clone(),
            accept: self.spec.accept.clone(),
            cost: self.spec.cost.clone(),
            arms: arms.to_vec(),
            controls_of: self.controls_of(),
            seed: self.spec.seed,
            metric: evals.metric.clone(),
            scorers: evals.scorers.clone(),
            slices: evals.slices.clone(),
            group: evals.group.clone(),
            gold_slice: evals
                .gold
                .clone()
                .filter(|gold| evals.slices.contains(gold)),
        }
    }

    pub(super) fn compare_node(&self, arms: &[Arm]) -> StepNode<Action> {
        let evals = &self.spec.evals;
        let compare = self.compare(arms);
        let mut node = StepNode::new("compare", Action::Compare(compare))
            .input("rows", ROWS, "ingest:test", "rows")
            .output("samples", SAMPLES)
            .output("study", FACTS)
            .output("comparison", FACTS)
            .output("gate", FACTS);
        if let Some(human) = &evals.human {
            node = node.file("human", SOURCE_FILE, self.folder.join(human));
        }
        node = self.with_judge(node);
        for arm in arms {
            let name = step_name(arm);
            let step = format!("evaluate:{name}");
            node = if arm.is_hosted() {
                node.input(format!("answers:{name}"), ANSWERS, &step, "answers")
                    .input(format!("usage:{name}"), FACTS, &step, "usage")
            } else {
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
                    format!("load:{name}"),
                    FACTS,
                    format!("measure:{name}"),
                    "load",
                );
            }
            if self.has_curve(arm) {
                let step = format!("curve-figures:{name}");
                node = node.input(format!("curve:{name}"), FACTS, step, "curve");
            }
            if self.is_calibrated(arm) {
                let step = format!("cascade:{name}");
                node = node.input(format!("cascade:{name}"), FACTS, step, "cascade");
            }
            if matches!(arm, Arm::Student(_) | Arm::Control(_)) {
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

    pub(super) fn report_node(&self, arms: &[Arm]) -> StepNode<Action> {
        let lineage = Lineage {
            rerun: format!("distill run {}", self.path.display()),
            ..Lineage::new(self.spec, &self.task, arms, self.teacher.clone())
        };
        let mut node = StepNode::new(REPORT_STEP, Action::Report(Box::new(lineage)))
            .input("samples", SAMPLES, "compare", "samples")
            .input("study", FACTS, "compare", "study")
            .input("comparison", FACTS, "compare", "comparison")
            .input("curation", FACTS, "curate", "curation")
            .input("train", ROWS, "ingest:train", "rows")
            .input("test", ROWS, "ingest:test", "rows")
            .output("report", REPORT);
        node = self.with_asked(node);
        node = Self::with_exchanges(node, arms);
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
        let parted = self.parted_step();
        node = node.input("split:examples", EXAMPLES, parted, "examples");
        for port in ["train", "validation"] {
            node = node.input(format!("split:{port}"), EXAMPLES, "split", port);
        }
        if self.spec.data.calibration > 0.0 {
            node = node.input("split:calibration", EXAMPLES, "split", "calibration");
        }
        if self.task.kind == TaskKind::Classify {
            node = node
                .input("label-noise", FACTS, "label-noise", "noise")
                .input("addition:label-noise", FACTS, "label-noise", "addition");
        }
        for arm in arms.iter().filter(|arm| self.is_calibrated(arm)) {
            let step = format!("cascade:{}", step_name(arm));
            node = node.input(format!("addition:{step}"), FACTS, step, "addition");
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
