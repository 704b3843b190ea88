//! The object equals the reference object: the same fields with the same values, in any order.

use distill_chat::Task;

use super::{Direction, EXTRACT, Metric, Rule, Unit};
use crate::{Sample, Score, fields::object};

pub(super) static METRIC: Metric = Metric {
    name: "json_exact_object",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of rows whose whole object is right, key order aside; an invalid reply is wrong",
    kinds: EXTRACT,
    rule: Rule::Share(score),
};

fn score(sample: &Sample, _task: &Task) -> Score {
    let gold = match sample.reply_and_gold() {
        Ok((_, gold)) => gold,
        Err(unscored) => return unscored,
    };
    match object(gold) {
        None => Score::unscored("the reference is not a JSON object"),
        Some(gold) => Score::right(sample.answer().and_then(object) == Some(gold)),
    }
}
