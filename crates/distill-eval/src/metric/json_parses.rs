//! The reply is JSON.

use distill_chat::without_fence;
use serde_json::Value;

use super::{Context, Direction, JSON, Metric, Rule, Unit};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "json_parses",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of replies that are JSON, a Markdown fence around it aside; needs no reference",
    kinds: JSON,
    settings: &[],
    rule: Rule::Share(score),
};

fn score(sample: &Sample, _context: &Context<'_>) -> Score {
    match sample.reply_or_unscored() {
        Ok(reply) => {
            Score::right(serde_json::from_str::<Value>(without_fence(reply.trim())).is_ok())
        }
        Err(unscored) => unscored,
    }
}
