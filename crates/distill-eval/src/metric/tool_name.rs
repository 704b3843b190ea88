//! The right tools are called, whatever their arguments.

use super::{Context, Direction, GENERATE, Metric, Rule, Unit, tool_call::compare};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "tool_name",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of rows that call exactly the right tools, each as often as it should be, in any order",
    kinds: GENERATE,
    settings: &[],
    rule: Rule::Share(score),
};

fn score(sample: &Sample, _context: &Context<'_>) -> Score {
    compare(sample, |said, right| said.name == right.name)
}
