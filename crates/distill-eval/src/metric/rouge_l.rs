//! ROUGE-L with Unicode words.

use super::{
    Context, Direction, GENERATE, Metric, Rule, Unit,
    rouge::{self, Words},
};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "rouge_l",
    unit: Unit::Score0To1,
    direction: Direction::Higher,
    description: "mean ROUGE-L F1: the longest common subsequence of words; words of any script in lower case, no stemming",
    kinds: GENERATE,
    settings: &[],
    rule: Rule::Mean(score),
};

fn score(sample: &Sample, context: &Context<'_>) -> Score {
    rouge::rouge_l(sample, context, Words::Unicode)
}
