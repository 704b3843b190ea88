//! The nodes that measure speed.

use distill_pipeline::graph::StepNode;

use super::{ALL_CORES, Layout};
use crate::{
    Action, Arm,
    compile::step_name,
    measure::{EXCHANGES_PORT, Measure},
    rows::{EXCHANGES, FACTS, ROWS, STUDENT},
};

impl Layout<'_> {
    /// Serves one student and asks it at the spec's settings. It holds every core: what else ran
    /// would be in its times.
    pub(super) fn measure_node(&self, arm: &Arm) -> Option<StepNode<Action>> {
        let Arm::Student(student) = arm else {
            return None;
        };
        let name = step_name(arm);
        let measure = Measure {
            student: student.clone(),
            task: self.task.clone(),
            spec: self.spec.measure.clone(),
            watts: self.spec.cost.watts,
            seed: self.spec.seed,
            device: self.device_of(arm),
        };
        Some(
            StepNode::new(format!("measure:{name}"), Action::Measure(measure))
                .input("student", STUDENT, format!("train:{name}"), "student")
                .input("rows", ROWS, "ingest:test", "rows")
                .output("load", FACTS)
                .output("exchanges", EXCHANGES)
                .resources(ALL_CORES),
        )
    }

    /// Hands the requests of every measurement to the report, which keeps them beside its figures.
    pub(super) fn with_exchanges(mut node: StepNode<Action>, arms: &[Arm]) -> StepNode<Action> {
        for arm in arms.iter().filter(|arm| matches!(arm, Arm::Student(_))) {
            let name = step_name(arm);
            let step = format!("measure:{name}");
            node = node.input(
                format!("{EXCHANGES_PORT}{name}"),
                EXCHANGES,
                step,
                "exchanges",
            );
        }
        node
    }
}
