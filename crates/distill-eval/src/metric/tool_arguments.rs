//! The right arguments are given, whatever the tools are named.

use distill_chat::same_json;

use super::{Context, Direction, GENERATE, Metric, Rule, Unit, tool_call::compare};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "tool_arguments",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of rows whose calls have exactly the right arguments by type and value (1 is 1.0, but not \"1\"), tool names aside",
    kinds: GENERATE,
    settings: &[],
    rule: Rule::Share(score),
};

fn score(sample: &Sample, _context: &Context<'_>) -> Score {
    compare(sample, |said, right| {
        same_json(&said.arguments, &right.arguments)
    })
}
