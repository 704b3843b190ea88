//! The reply is an object that satisfies the task's schema.

use distill_chat::Task;

use super::{Direction, EXTRACT, Metric, Rule, Unit};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "json_matches_schema",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of replies that are an object of the task's schema; needs no reference",
    kinds: EXTRACT,
    rule: Rule::Share(score),
};

/// A reply becomes an answer exactly when it satisfies the schema: the task reads it so.
fn score(sample: &Sample, _task: &Task) -> Score {
    match sample.reply_or_unscored() {
        Ok(_) => Score::right(sample.answer().is_some()),
        Err(unscored) => unscored,
    }
}
