//! The reply is the reference, character for character.

use distill_chat::Task;

use super::{Direction, EVERY, Metric, Rule, Unit};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "exact_match",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of replies that equal the reference text, outer white space aside",
    kinds: EVERY,
    rule: Rule::Share(score),
};

fn score(sample: &Sample, _task: &Task) -> Score {
    match sample.reply_and_gold() {
        Ok((reply, gold)) => Score::right(reply.trim() == gold.trim()),
        Err(unscored) => unscored,
    }
}
