//! ROUGE-2 with ASCII words.

use super::{
    Context, Direction, GENERATE, Metric, Rule, Unit,
    rouge::{self, Words},
};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "rouge_2_ascii",
    unit: Unit::Score0To1,
    direction: Direction::Higher,
    description: "mean ROUGE-2 F1: pairs of words; words of a-z and 0-9 alone, as the Python package rouge_score without stemmer",
    kinds: GENERATE,
    settings: &[],
    rule: Rule::Mean(score),
};

fn score(sample: &Sample, context: &Context<'_>) -> Score {
    rouge::rouge_n(sample, context, Words::Ascii, 2)
}
