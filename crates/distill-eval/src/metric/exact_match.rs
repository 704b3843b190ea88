//! The reply is the reference, character for character.

use super::{Context, Direction, EVERY, Metric, Rule, Unit, text::right_by_any};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "exact_match",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of replies that equal the reference text, outer white space aside",
    kinds: EVERY,
    settings: &[],
    rule: Rule::Share(score),
};

fn score(sample: &Sample, context: &Context<'_>) -> Score {
    right_by_any(sample, context, |reply, reference| {
        reply.trim() == reference.trim()
    })
}
