//! The nodes of a learning curve.

use distill_pipeline::graph::StepNode;
use distill_runner::StepFailure;

use super::{Layout, with_files};
use crate::{
    Action, Arm,
    base::BaseReference,
    compile::step_name,
    curve::{Curve, CurveFigures},
    rows::{ANSWERS, EXAMPLES, FACTS, PREDICTIONS, ROWS, SOURCE_FILE},
    train::ObjectiveRecipe,
};

/// Shares that the linear student is trained on when the spec names none: it takes seconds, and
/// without three sizes nobody can say what more data would bring.
const LINEAR_SHARES: [f64; 2] = [0.25, 0.5];

impl Layout<'_> {
    /// Shares of the training rows that an arm is trained on beside all of them.
    fn curve_shares(&self, arm: &Arm) -> Vec<f64> {
        let named = &self.spec.train.learning_curve;
        match arm {
            Arm::Student(name) if name == "linear" && named.is_empty() => LINEAR_SHARES.to_vec(),
            Arm::Student(_) => named.clone(),
            _ => Vec::new(),
        }
    }

    pub(super) fn has_curve(&self, arm: &Arm) -> bool {
        !self.curve_shares(arm).is_empty()
    }

    /// Trains on the shares and answers the test rows; then scores the answers.
    pub(super) fn curve_nodes(&self, arm: &Arm) -> Result<Vec<StepNode<Action>>, StepFailure> {
        let shares = self.curve_shares(arm);
        let (Arm::Student(student), Some(train)) = (arm, self.training(arm)?) else {
            return Ok(Vec::new());
        };
        if shares.is_empty() {
            return Ok(Vec::new());
        }
        let name = step_name(arm);
        let resources = Self::training_resources(&train);
        let files = train.base().map(BaseReference::files).unwrap_or_default();
        let teacher = train
            .objective()
            .map(ObjectiveRecipe::files)
            .unwrap_or_default();
        let curve = StepNode::new(
            format!("curve:{name}"),
            Action::Curve(Curve { train, shares }),
        );
        let curve = with_files(with_files(curve, "base", files), "teacher", teacher)
            .input("train", EXAMPLES, "split", "train")
            .input("validation", EXAMPLES, "split", "validation")
            .input("rows", ROWS, "ingest:test", "rows")
            .output("runs", FACTS)
            .resources(resources);
        let figures = CurveFigures {
            compare: self.compare(&[]),
            student: student.clone(),
            simulated: self.labels_are_simulated(),
        };
        let evaluate = format!("evaluate:{name}");
        let mut figures = StepNode::new(
            format!("curve-figures:{name}"),
            Action::CurveFigures(figures),
        )
        .input("runs", FACTS, format!("curve:{name}"), "runs")
        .input("rows", ROWS, "ingest:test", "rows")
        .input("training", FACTS, format!("train:{name}"), "training")
        .input("predictions", PREDICTIONS, &evaluate, "predictions")
        .output("curve", FACTS);
        if self.teacher.is_some() {
            figures = figures
                .input("answers", ANSWERS, "evaluate:teacher", "answers")
                .input("usage", FACTS, "evaluate:teacher", "usage");
        }
        if let Some(human) = &self.spec.evals.human {
            figures = figures.file("human", SOURCE_FILE, self.folder.join(human));
        }
        Ok(vec![curve, figures])
    }
}
