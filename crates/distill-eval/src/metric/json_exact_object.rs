//! The object equals the reference object: the same fields with the same values, in any order.

use super::{Context, Direction, JSON, Metric, Rule, Unit};
use distill_chat::same_json;
use serde_json::Value;

use crate::{
    Sample, Score,
    fields::{answer_object, object},
};

pub(super) static METRIC: Metric = Metric {
    name: "json_exact_object",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of rows whose whole object is right, key order aside; an invalid reply is wrong",
    kinds: JSON,
    settings: &[],
    rule: Rule::Share(score),
};

fn score(sample: &Sample, context: &Context<'_>) -> Score {
    let gold = match sample.reply_and_gold() {
        Ok((_, gold)) => gold,
        Err(unscored) => return unscored,
    };
    match object(gold) {
        None => Score::unscored("the reference is not a JSON object"),
        Some(gold) => Score::right(
            answer_object(sample, context.kind())
                .is_some_and(|answer| same_json(&Value::Object(answer), &Value::Object(gold))),
        ),
    }
}
