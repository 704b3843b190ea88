//! chrF of each row for itself.

use super::{
    Context, Direction, GENERATE, Metric, Rule, Unit,
    chrf::{self, Matches},
};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "sentence_chrf",
    unit: Unit::Score0To100,
    direction: Direction::Higher,
    description: "mean of sentence chrF2 as sacreBLEU: F2 of up to 6-grams of characters, white space left out",
    kinds: GENERATE,
    settings: chrf::SETTINGS,
    rule: Rule::Mean(score),
};

fn score(sample: &Sample, context: &Context<'_>) -> Score {
    match sample.reply_and_gold() {
        Ok((reply, gold)) => {
            let references = context.kind().references(gold);
            let matches = Matches::count(reply, &references, chrf::word_order(context));
            Score::Value(matches.f_score())
        }
        Err(unscored) => unscored,
    }
}
