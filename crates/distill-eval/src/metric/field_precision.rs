//! Of the fields a model gave, how many are right.

use distill_chat::Task;

use super::{Direction, EXTRACT, Metric, Rule, Unit};
use crate::{
    Sample, Statistic,
    fields::{FieldCounts, PooledFields, Tally},
};

pub(super) static METRIC: Metric = Metric {
    name: "field_precision",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of the fields given that are right, pooled over rows; a value must match exactly",
    kinds: EXTRACT,
    rule: Rule::Corpus(statistic),
};

fn statistic(samples: &[&Sample], _task: &Task) -> Box<dyn Statistic> {
    Box::new(PooledFields::new(
        FieldCounts::of(samples, None),
        Tally::precision,
    ))
}
