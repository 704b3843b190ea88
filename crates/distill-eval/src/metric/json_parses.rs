//! The reply is JSON.

use distill_chat::Task;
use serde_json::Value;

use super::{Direction, EXTRACT, Metric, Rule, Unit};
use crate::{Outcome, Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "json_parses",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of replies that are JSON; needs no reference",
    kinds: EXTRACT,
    rule: Rule::Share(score),
};

fn score(sample: &Sample, _task: &Task) -> Score {
    match &sample.outcome {
        Outcome::Answer { .. } => Score::right(true),
        Outcome::Invalid { reply, .. } => {
            Score::right(serde_json::from_str::<Value>(reply.trim()).is_ok())
        }
        Outcome::Missing { reason } => Score::unscored(reason.as_str()),
    }
}
