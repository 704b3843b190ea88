//! BLEU of each row for itself.

use super::{Context, Direction, GENERATE, Metric, Rule, Unit, bleu::Matches};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "sentence_bleu",
    unit: Unit::Score0To100,
    direction: Direction::Higher,
    description: "mean of sentence BLEU as sacreBLEU: as bleu, over the n-gram orders that the reply is long enough for",
    kinds: GENERATE,
    settings: &[],
    rule: Rule::Mean(score),
};

fn score(sample: &Sample, context: &Context<'_>) -> Score {
    match sample.reply_and_gold() {
        Ok((reply, gold)) => {
            Score::Value(Matches::count(reply, &context.kind().references(gold)).bleu(true))
        }
        Err(unscored) => unscored,
    }
}
