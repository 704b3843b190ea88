//! The label the reply was read as equals the reference label.

use super::{CLASSIFY, Context, Direction, Metric, Rule, Unit};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "accuracy",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of rows whose label is right; a reply that is no label is wrong",
    kinds: CLASSIFY,
    settings: &[],
    rule: Rule::Share(score),
};

fn score(sample: &Sample, _context: &Context<'_>) -> Score {
    match sample.reply_and_gold() {
        Ok((_, gold)) => Score::right(sample.answer() == Some(gold)),
        Err(unscored) => unscored,
    }
}
