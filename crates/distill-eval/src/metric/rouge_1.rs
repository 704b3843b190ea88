//! ROUGE-1 with Unicode words.

use super::{
    Context, Direction, GENERATE, Metric, Rule, Unit,
    rouge::{self, Words},
};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "rouge_1",
    unit: Unit::Score0To1,
    direction: Direction::Higher,
    description: "mean ROUGE-1 F1: single words; words of any script in lower case, no stemming",
    kinds: GENERATE,
    settings: &[],
    rule: Rule::Mean(score),
};

fn score(sample: &Sample, context: &Context<'_>) -> Score {
    rouge::rouge_n(sample, context, Words::Unicode, 1)
}
