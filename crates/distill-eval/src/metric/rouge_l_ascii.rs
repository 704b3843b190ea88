//! ROUGE-L with ASCII words.

use super::{
    Context, Direction, GENERATE, Metric, Rule, Unit,
    rouge::{self, Words},
};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "rouge_l_ascii",
    unit: Unit::Score0To1,
    direction: Direction::Higher,
    description: "mean ROUGE-L F1: the longest common subsequence of words; words of a-z and 0-9 alone, as the Python package rouge_score without stemmer",
    kinds: GENERATE,
    settings: &[],
    rule: Rule::Mean(score),
};

fn score(sample: &Sample, context: &Context<'_>) -> Score {
    rouge::rouge_l(sample, context, Words::Ascii)
}
